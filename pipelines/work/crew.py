"""Who does work in pieces: processes of this machine, or, where an address of one is given, the tasks of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from pipelines.options import cpus
from pipelines.progress import say
from pipelines.work import Finished, InTurn, Job, Piece, Progress, Result, Work, processes
from pipelines.work.cluster import Ray

# Seconds between two looks at what has been done.
_TICK = 1.0


def each(
    work: Work[Piece, Job, Result],
    pieces: Sequence[Piece],
    ray: Ray,
    problem_here: Callable[[Job], str | None],
    gpu: bool = False,
    most: int | None = None,
) -> Generator[Finished[Piece, Result] | Progress | None, None, None]:
    """Do the pieces: yields each as it is finished, in any order, how many images are done meanwhile, and None.

    With `gpu`, each is done where there is one that nothing else uses. At most `most` are done at a time.

    `problem_here` says what is wrong with the job as a node of the cluster sees it. Raises UsageError for that,
    RunError where workers are lost again and again, and what `work.do` raises.
    """
    cluster = ray.cluster
    bounds = [count for count in (cluster.workers, most) if count]
    if not cluster.address:
        here = 1 if gpu else min(bounds if cluster.workers else [cpus(), *bounds])
        yield from processes.run(work, pieces, here, _TICK)
        return
    if not ray.running:
        say(f"joining Ray at {cluster.address}")  # which RAY_ADDRESS may have named
    engine = ray.engine()
    engine.check_nodes(problem_here, work.job)
    lanes = InTurn(pieces), InTurn[Piece]()
    yield from engine.run(work, *(lanes[::-1] if gpu else lanes), min(bounds, default=None), _TICK)
