"""Ray: one task makes one shard for all variants, a bounded number at a time.

Starts a local Ray of its own, or joins the cluster at an address. Knows nothing of images: what a task does is
`make_shard`, and what is left to do is the plan's business. A task may run twice (a lost worker): it commits the same
bytes.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Ray reads these when it is imported: it would report usage to a server, and rewrite an unset GPU list.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.exceptions

from pipelines.errors import RunError, SysNoiseError
from pipelines.generate.config import Config
from pipelines.generate.output import Output, cannot_write
from pipelines.generate.shard import Task, make_shard
from pipelines.generate.sources import Source

# How often a shard is tried again when its worker is lost. Errors that the code raises are not retried.
_RETRIES = 3
# Shards go to files, not through Ray's object store: the smallest store that Ray accepts is enough.
_OBJECT_STORE_BYTES = 80 * 1024**2


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share; sent to the workers once. `recipes` are digests by variant name."""

    config: Config
    source: Source
    output: Output
    recipes: dict[str, str]


@dataclass(frozen=True)
class Finished:
    """A shard that is whole for all of its variants: its task, and how many samples failed in any of them."""

    task: Task
    failed: int


@ray.remote(num_cpus=1, max_retries=_RETRIES)
def _make(task: Task, job: Job) -> int:
    return make_shard(task, job.config, job.source, job.output, job.recipes)


def start(address: str | None, workers: int | None) -> int:
    """Start or join Ray; the number of shards to make at a time."""
    if address is None:
        count = workers or len(os.sched_getaffinity(0))
        try:
            ray.init(
                address="local",
                num_cpus=count,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # what can be wrong with a machine is without end
            raise RunError(f"Ray did not start ({str(error).partition(chr(10))[0]})") from None
        return count
    _probe(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # as above
        reason = str(error).partition("\n")[0]
        raise RunError(f"no Ray cluster at {address} ({reason}): is it up, and RAY_AUTH_TOKEN its token?") from None
    cpus = sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
    return workers or max(1, int(cpus))


def _probe(address: str) -> None:
    """Raises RunError where nothing listens at `HOST:PORT`: Ray itself would try for minutes before it says so."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise RunError(f"no Ray cluster at {address} ({error.strerror or error}): is it up?") from None


def run(tasks: Iterable[Task], job: Job, in_flight: int, tick: float) -> Iterator[Finished | None]:
    """Make shards, `in_flight` at a time; yields each as it is finished, and None every `tick` seconds without one.

    Raises RunError for a full disk, a worker that is lost again and again, or a worker with other libraries.
    """
    shared = ray.put(job)
    running: dict[ray.ObjectRef[int], Task] = {}
    waiting = iter(tasks)
    try:
        while True:
            while len(running) < in_flight and (task := next(waiting, None)):
                running[_make.remote(task, shared)] = task
            if not running:
                return
            ready, _ = ray.wait(list(running), timeout=tick)
            for reference in ready:
                task = running.pop(reference)
                yield Finished(task, _result(reference, task, job))
            if not ready:
                yield None
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _result(reference: ray.ObjectRef[int], task: Task, job: Job) -> int:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, OSError):
            raise cannot_write(job.output.root, cause) from None
        if isinstance(cause, SysNoiseError):
            raise cause from None
        raise RunError(f"shard {task.shard} failed: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise RunError(f"shard {task.shard} was tried {_RETRIES + 1} times and lost its worker: {reason}") from None


def stop() -> None:
    """Leave the cluster, or end the local Ray."""
    ray.shutdown()
