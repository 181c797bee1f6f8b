"""Ray: one task makes one shard for some variants, a bounded number at a time.

Starts a local Ray of its own, or joins the cluster at an address. Knows nothing of images: what a task does is
`make_shard`, and what is left to do is the plan's business. Variants that need a GPU are made by an actor for each GPU
of the cluster, the others by tasks of one CPU. A shard whose worker is lost is made again, and its bytes are the same;
after several losses what ends the worker is looked for and left out, and after some more the run ends with the reason.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

# Ray reads these when it is imported: it would report usage to a server, and rewrite an unset GPU list.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from generators.variant import Variant
from manifests.schema import Recipe
from pipelines.errors import RunError, SysNoiseError, UsageError
from pipelines.generate.config import Config
from pipelines.generate.isolate import find_lethal
from pipelines.generate.shard import Job, Task, make_shard
from pipelines.generate.sources import Missing, Sample
from pipelines.progress import say
from pipelines.text import first_line

# How often a shard is begun at most, and how many workers it may cost before what ends them is looked for.
_ATTEMPTS, _UNEXPLAINED = 5, 2
# Seconds in which a node says what it sees, or is taken to have gone.
_PATIENCE = 60.0
# Shards go to files, not through Ray's object store: the smallest store that Ray accepts is enough.
_OBJECT_STORE_BYTES = 80 * 1024**2


@dataclass(frozen=True)
class Finished:
    """A shard that is whole for all of its variants: its task, and how many samples failed in any of them."""

    task: Task
    failed: int


class _Lost(NamedTuple):
    """Why a worker did not finish its task, and whether memory was short."""

    reason: str
    memory: bool = False


@dataclass
class _Attempt:
    """A task, how often it has been begun, and how many workers it has cost."""

    task: Task
    began: float = 0.0
    count: int = 0
    losses: int = 0


def _work(task: Task, job: Job, limit: float, careful: bool) -> int:
    """Make a shard within `limit` seconds, or end this process; when `careful`, without the calls that end it."""
    lethal = find_lethal(task, job) if careful else {}
    # A watch that needs no cooperation: it ends the process also where a library never returns.
    faulthandler.dump_traceback_later(limit, exit=True, file=2)
    try:
        return make_shard(task, job, lethal)
    finally:
        faulthandler.cancel_dump_traceback_later()


@ray.remote(num_cpus=1, max_retries=0)
def _make(task: Task, job: Job, limit: float, careful: bool) -> int:
    return _work(task, job, limit, careful)


class _Gpu:
    """Holds one GPU for the run's length: what a library sets up there is set up once."""

    def recipes(self, config: Config, variants: Sequence[Variant]) -> list[Recipe]:
        return [config.recipe(variant) for variant in variants]

    def make(self, task: Task, job: Job, limit: float, careful: bool) -> int:
        return _work(task, job, limit, careful)


_GpuActor: Any = ray.remote(num_gpus=1, num_cpus=0, max_restarts=0, max_task_retries=0)(_Gpu)


@ray.remote(num_cpus=0, max_retries=0)
def _look(job: Job, sample: Sample) -> str | None:
    """What is wrong with the run's places as this node sees them."""
    if not job.output.is_seen():
        return f"--output {job.output.root.parent} is not the same folder there"
    try:
        found = next(iter(job.source.read([sample])))
    except SysNoiseError as error:
        return f"the source cannot be read there ({error})"
    return f"the source cannot be read there ({found.reason})" if isinstance(found, Missing) else None


def start(address: str | None, workers: int | None) -> None:
    """Start or join Ray. Raises RunError where that fails."""
    if ray.is_initialized():
        return
    if address is None:
        try:
            ray.init(
                address="local",
                num_cpus=workers or len(os.sched_getaffinity(0)),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # what can be wrong with a machine is without end
            raise RunError(f"Ray did not start ({first_line(error)})") from None
        return
    _probe(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # as above
        raise RunError(
            f"no Ray cluster at {address} ({first_line(error)}): is it up, and RAY_AUTH_TOKEN its token?"
        ) from None


def _probe(address: str) -> None:
    """Raises RunError where nothing listens at `HOST:PORT`: Ray itself would try for minutes before it says so."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise RunError(f"no Ray cluster at {address} ({error.strerror or error}): is it up?") from None


def gpus() -> int:
    """The GPUs of the cluster that was started or joined."""
    return int(ray.cluster_resources().get("GPU", 0))


def gpu_recipes(config: Config, variants: Sequence[Variant]) -> list[Recipe]:
    """The recipes of variants that need a GPU, as a machine that has one says. Raises RunError where that fails."""
    if not gpus():  # an actor would wait for one for ever
        raise RunError(
            "CUDA shows a GPU but Ray, which asks NVML, none: in a container, NVIDIA_DRIVER_CAPABILITIES must "
            "have utility"
        )
    actor = _GpuActor.remote()
    try:
        found: list[Recipe] = ray.get(actor.recipes.remote(config, variants))
        return found
    except ray.exceptions.RayTaskError as error:
        raise RunError(f"the GPU cannot be used ({first_line(error.cause)})") from None
    except ray.exceptions.RayError as error:
        raise RunError(f"the process that was to use the GPU has died ({first_line(error)})") from None
    finally:
        ray.kill(actor)


def check_nodes(job: Job, sample: Sample) -> None:
    """Raises UsageError where a node of the cluster that can make shards does not see the source or the output."""
    nodes = [node for node in ray.nodes() if node["Alive"] and {"CPU", "GPU"} & node["Resources"].keys()]
    looks = {
        _look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            job, sample
        ): node["NodeManagerAddress"]
        for node in nodes
    }
    seen, _ = ray.wait(list(looks), num_returns=len(looks), timeout=_PATIENCE)
    for reference in seen:
        try:
            problem = ray.get(reference)
        except ray.exceptions.RayError:  # a node that has gone makes no shards
            continue
        if problem:
            raise UsageError(f"on the node {looks[reference]}, {problem}: give paths that all nodes share, or URIs")


class _Lane(ABC):
    """Where tasks of one kind run: `room` of them at a time, fewer where memory was short."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._waiting = iter(tasks)
        self._again: deque[_Attempt] = deque()
        self._spared = 0
        self.running: dict[ray.ObjectRef[int], _Attempt] = {}

    @abstractmethod
    def room(self) -> int: ...

    @abstractmethod
    def submit(self, attempt: _Attempt, careful: bool) -> ray.ObjectRef[int]: ...

    def leave(self, reference: ray.ObjectRef[int], lost: bool) -> None:
        """A task has come to its end, or its worker has."""
        del self.running[reference]

    def fill(self) -> None:
        """Begin as many tasks as there is room for."""
        while len(self.running) < max(1, self.room() - self._spared):
            attempt = self._next()
            if attempt is None:
                return
            attempt.count += 1
            attempt.began = time.monotonic()
            self.running[self.submit(attempt, attempt.losses >= _UNEXPLAINED)] = attempt

    def _next(self) -> _Attempt | None:
        if self._again:
            return self._again.popleft()
        task = next(self._waiting, None)
        return _Attempt(task) if task else None

    def retry(self, attempt: _Attempt, lost: _Lost, limit: float) -> None:
        """Begin an attempt again later. Raises RunError where it was begun often enough."""
        reason = lost.reason
        if time.monotonic() - attempt.began >= limit:
            reason = f"it took longer than {limit:.0f} s, which --shard-timeout can raise"
        shard = attempt.task.shard
        if attempt.count == _ATTEMPTS:
            raise RunError(f"shard {shard} was tried {_ATTEMPTS} times and lost its worker each time: {reason}")
        say(f"shard {shard} lost its worker and is made again: {reason}")
        attempt.losses += not lost.memory
        self._spared += lost.memory
        self._again.append(attempt)


class _Cpus(_Lane):
    def __init__(self, tasks: Iterable[Task], job: ray.ObjectRef[Job], limit: float, workers: int | None) -> None:
        super().__init__(tasks)
        self._job, self._limit, self._workers = job, limit, workers

    def room(self) -> int:
        # Asked for anew each time: nodes come and go.
        return self._workers or int(ray.cluster_resources().get("CPU", 1))

    def submit(self, attempt: _Attempt, careful: bool) -> ray.ObjectRef[int]:
        return _make.remote(attempt.task, self._job, self._limit, careful)


class _Gpus(_Lane):
    def __init__(self, tasks: Iterable[Task], job: ray.ObjectRef[Job], limit: float) -> None:
        super().__init__(tasks)
        self._job, self._limit = job, limit
        self._idle: list[Any] = []
        self._busy: dict[ray.ObjectRef[int], Any] = {}

    def room(self) -> int:
        return gpus()

    def submit(self, attempt: _Attempt, careful: bool) -> ray.ObjectRef[int]:
        actor = self._idle.pop() if self._idle else _GpuActor.remote()
        reference: ray.ObjectRef[int] = actor.make.remote(attempt.task, self._job, self._limit, careful)
        self._busy[reference] = actor
        return reference

    def leave(self, reference: ray.ObjectRef[int], lost: bool) -> None:
        super().leave(reference, lost)
        actor = self._busy.pop(reference)
        if lost:
            ray.kill(actor)
        else:
            self._idle.append(actor)

    def end(self) -> None:
        for actor in (*self._idle, *self._busy.values()):
            ray.kill(actor)


def run(
    cpu_tasks: Iterable[Task], gpu_tasks: Iterable[Task], job: Job, workers: int | None, limit: float, tick: float
) -> Iterator[Finished | None]:
    """Make shards, each within `limit` seconds; yields each as it is finished, and None every `tick` seconds without.

    At most `workers` (by default the cluster's CPUs) are made at a time besides those on GPUs. Raises RunError for a
    full disk, a worker that is lost again and again, or a worker with other libraries.
    """
    shared = ray.put(job)
    cpus, on_gpus = _Cpus(cpu_tasks, shared, limit, workers), _Gpus(gpu_tasks, shared, limit)
    lanes: tuple[_Lane, ...] = (cpus, on_gpus)
    try:
        while True:
            for lane in lanes:
                lane.fill()
            references = [reference for lane in lanes for reference in lane.running]
            if not references:
                return
            ready, _ = ray.wait(references, timeout=tick)
            for reference in ready:
                lane = cpus if reference in cpus.running else on_gpus
                attempt = lane.running[reference]
                result = _result(reference, attempt.task)
                lane.leave(reference, isinstance(result, _Lost))
                if isinstance(result, _Lost):
                    lane.retry(attempt, result, limit)
                else:
                    yield Finished(attempt.task, result)
            if not ready:
                yield None
    finally:
        # Tasks that still run end when the driver leaves: where one that ends by itself is cancelled as well, Ray 2.60
        # may take the driver down.
        on_gpus.end()


def _result(reference: ray.ObjectRef[int], task: Task) -> int | _Lost:
    """What has become of a task. Raises RunError where trying again is of no use."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MemoryError):
            return _Lost("memory was short", memory=True)
        if isinstance(cause, SysNoiseError):
            raise cause from None
        raise RunError(f"shard {task.shard} failed: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.OutOfMemoryError:
        return _Lost("memory was short, and Ray ended it", memory=True)
    except ray.exceptions.ActorDiedError as error:
        return _Lost(str(error).splitlines()[-1])  # how it died; the lines before say who
    except ray.exceptions.RayError as error:
        return _Lost(first_line(error))


def stop() -> None:
    """Leave the cluster, or end the local Ray."""
    ray.shutdown()
