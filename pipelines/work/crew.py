"""Chooses who does the work: processes of this machine or, if an address is given, the tasks of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from pipelines.options import cpus
from pipelines.progress import say
from pipelines.work import Finished, InTurn, Job, Piece, Progress, Result, Work, processes
from pipelines.work.cluster import Ray

# Seconds between two looks at the progress.
_TICK = 1.0


def each(
    work: Work[Piece, Job, Result],
    pieces: Sequence[Piece],
    ray: Ray,
    problem_here: Callable[[Job], str | None],
    gpu: bool = False,
    most: int | None = None,
) -> Generator[Finished[Piece, Result] | Progress | None, None, None]:
    """Process the pieces: yields each when it is finished, in any order, progress meanwhile, and None if idle.

    With `gpu`, each piece has a GPU for itself. At most `most` pieces are processed at a time. `problem_here` returns
    what is wrong with the job as seen from a node of the cluster, if anything: that raises UsageError. Raises RunError
    if a piece keeps losing its worker, and what `work.do` raises.
    """
    cluster = ray.cluster
    bounds = [count for count in (cluster.workers, most) if count]
    if not cluster.address:
        here = 1 if gpu else min(bounds if cluster.workers else [cpus(), *bounds])
        yield from processes.run(work, pieces, here, _TICK)
        return
    if not ray.running:
        say(f"joining Ray at {cluster.address}")  # the user may not know that RAY_ADDRESS is set
    engine = ray.engine()
    engine.check_nodes(problem_here, work.job)
    lanes = InTurn(pieces), InTurn[Piece]()
    yield from engine.run(work, *(lanes[::-1] if gpu else lanes), min(bounds, default=None), _TICK)
