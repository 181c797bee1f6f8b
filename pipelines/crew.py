"""Who does work in pieces: processes of this machine, or, where an address of one is given, the tasks of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipelines import processes
from pipelines.cluster import Ray
from pipelines.options import cpus
from pipelines.work import Finished, InTurn, Job, Piece, Progress, Result, Work

# Seconds between two looks at what has been done.
_TICK = 1.0


def each(
    work: Work[Piece, Job, Result],
    pieces: Sequence[Piece],
    ray: Ray,
    problem_here: Callable[[Job], str | None],
) -> Iterator[Finished[Piece, Result] | Progress | None]:
    """Do the pieces: yields each as it is finished, in any order, how many images are done meanwhile, and None.

    `problem_here` says what is wrong with the job as a node of the cluster sees it. Raises UsageError for that,
    RunError where workers are lost again and again, and what `work.do` raises.
    """
    cluster = ray.cluster
    if not cluster.address:
        yield from processes.run(work, pieces, cluster.workers or cpus(), _TICK)
        return
    engine = ray.engine()
    engine.check_nodes(problem_here, work.job)
    yield from engine.run(work, InTurn(pieces), InTurn[Piece](), cluster.workers, _TICK)
