"""Processes pieces of work on Ray, a bounded number at a time: on a local Ray, or on the cluster at an address.

Knows nothing about pieces: the caller's function processes them, and its supply decides which are left. Work that needs
a GPU is done by an actor for each GPU of the cluster, all other work by tasks of one CPU. Processing a piece twice must
give the same result. A piece that loses its workers again and again ends the run, with the reason.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import ray

from pipelines.errors import RunError, UnfitError, UsageError
from pipelines.progress import say
from pipelines.text import first_line
from pipelines.work import Finished, Piece, Progress, Result, Supply, Work, joining, local_ray
from pipelines.work.lanes import Cpus, Gpus, Lane, Lost, next_report
from pipelines.work.nodes import Node, ask_gpu, ask_nodes, check_nodes, gpus, nodes, this_node
from pipelines.work.tasks import Ended
from pipelines.work.uninterrupted import connecting

__all__ = [
    "Node",
    "ask_gpu",
    "ask_nodes",
    "check_nodes",
    "gpus",
    "nodes",
    "run",
    "start",
    "stop",
    "this_node",
]

# Images go to files, not through Ray's object store: the smallest store that Ray accepts is enough.
_OBJECT_STORE_BYTES = 80 * 1024**2


def start(address: str | None, workers: int | None) -> None:
    """Start or join Ray. Raises RunError if that fails, and UsageError for a wrong address or token."""
    if ray.is_initialized():
        return
    if address in (None, "local"):
        try:
            with connecting():
                local_ray.init(
                    num_cpus=workers or len(os.sched_getaffinity(0)),
                    object_store_memory=_OBJECT_STORE_BYTES,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except Exception as error:  # a machine can be broken in any number of ways
            raise RunError(f"Ray did not start ({first_line(error)})") from None
        return
    joining.check(address)
    try:
        with connecting():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # as above
        if "Version mismatch" in str(error):
            raise UsageError(f"the cluster at {address} has another version: {' '.join(str(error).split())}") from None
        raise RunError(f"no Ray cluster at {address} ({first_line(error)}): is it up?") from None


def run(
    work: Work[Piece, Any, Result],
    on_cpus: Supply[Piece],
    on_gpus: Supply[Piece],
    workers: int | None,
    tick: float,
) -> Iterator[Finished[Piece, Result] | Progress | None]:
    """Do the work: yields each piece when it is finished, progress meanwhile, and None after `tick` seconds of neither.

    At most `workers` (by default the cluster's CPUs) pieces are processed at a time, not counting those on GPUs. Raises
    RunError if a piece keeps losing its worker, once everything else that is supplied is done; raises at once what `do`
    raises, and RunError if a process of a local Ray ends.
    """
    job = ray.put(work.job)
    cpus, with_gpus = Cpus(on_cpus, work, job), Gpus(on_gpus, work, job)
    cpus.most = workers
    lanes: tuple[Lane, ...] = (cpus, with_gpus)
    failure: RunError | None = None
    try:
        while True:
            if gone := local_ray.gone():
                raise RunError(f"{gone} has ended: whole shards are kept, and the same command continues")
            for lane in lanes:
                lane.fill()
            streams = [stream for lane in lanes for stream in lane.running]
            if not streams:
                break
            ready, _ = ray.wait(streams, timeout=tick)
            for stream in ready:
                lane = cpus if stream in cpus.running else with_gpus
                attempt = lane.running[stream]
                report = next_report(stream, work.name(attempt.piece))
                if isinstance(report, int):
                    attempt.images += report
                    yield Progress(report)
                    continue
                lane.leave(stream, isinstance(report, (Lost, UnfitError)))
                if isinstance(report, Ended):
                    lane.supply.finished(attempt.piece, cpus.workers)
                    yield Progress(report.images)
                    yield Finished(attempt.piece, report.result)
                    continue
                yield Progress(-attempt.images)
                attempt.images = 0
                if isinstance(report, UnfitError):
                    lane.leave_out(attempt, report)
                    continue
                try:
                    lane.retry(attempt, report)
                except RunError as error:
                    say(f"{error}; pieces that were started are finished")
                    failure = failure or error
                    lane.supply.failed(attempt.piece)
            if not ready:
                yield None
        if failure:
            raise failure
    finally:
        # Tasks that still run end when the driver leaves. They are not cancelled: Ray 2.60 may crash the driver if one
        # ends by itself meanwhile.
        with_gpus.end()


def stop() -> None:
    """Leave the cluster, or end the local Ray."""
    ray.shutdown()
