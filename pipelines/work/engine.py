"""Ray: pieces of work, a bounded number at a time, each begun again where its worker is lost.

Starts a local Ray of its own, or joins the cluster at an address. Knows nothing of what a piece is: what is done with
one is a function of its caller's, and which are left to do is the plan's business. What needs a GPU is done by an actor
for each GPU of the cluster, all else by tasks of one CPU. What is done with a piece twice must come to the same. After
several losses a piece is done with care, so that what ends its worker can be looked for, and after some more the run
ends with the reason. A node that says itself that it is unfit gets no more pieces.
"""

from __future__ import annotations

import logging
import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

# Ray reads these when it is imported: it would report usage to a server, and rewrite an unset GPU list.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.errors import RunError, SysNoiseError, UnfitError, UsageError
from pipelines.progress import say
from pipelines.text import first_line
from pipelines.work import Finished, Piece, Progress, Result, Supply, Work, joining, local_ray
from pipelines.work.uninterrupted import connecting

# How often a piece is begun at most, and how many workers it may cost before what ends them is looked for.
_ATTEMPTS, _UNEXPLAINED = 5, 2
# Seconds between two words of a worker, and how many words are said in a second by all of them at most.
_TOLD, _MOST_TOLD = 1.0, 200
# Seconds in which a node says what it sees.
_PATIENCE = 60.0
# Pictures go to files, not through Ray's object store: the smallest store that Ray accepts is enough.
_OBJECT_STORE_BYTES = 80 * 1024**2


class _Ended(NamedTuple):
    """What came of a piece, and the images that were not told of yet."""

    result: Any
    images: int


class _Lost(NamedTuple):
    """Why a worker did not finish its piece, and whether memory was short."""

    reason: str
    memory: bool = False


@dataclass
class _Attempt:
    """A piece, how often it has been begun, how many workers it has cost, and its images that have been told of."""

    piece: Any
    began: float = 0.0
    count: int = 0
    losses: int = 0
    images: int = 0


def _told(pause: float, do: Callable[..., Any], *words: Any) -> Iterator[int | _Ended]:
    """The steps of a piece, told of every `pause` seconds, and its end."""
    steps = do(*words)
    images, last = 0, time.monotonic()
    while True:
        try:
            images += next(steps)
        except StopIteration as end:
            yield _Ended(end.value, images)
            return
        if (now := time.monotonic()) - last >= pause:
            yield images
            images, last = 0, now


@ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")
def _work(pause: float, do: Callable[..., Any], *words: Any) -> Iterator[int | _Ended]:
    yield from _told(pause, do, *words)


class _Gpu:
    """Holds one GPU for the run's length: what a library sets up there is set up once."""

    def call(self, do: Callable[..., Any], *words: Any) -> Any:
        return do(*words)

    def work(self, pause: float, do: Callable[..., Any], *words: Any) -> Iterator[int | _Ended]:
        yield from _told(pause, do, *words)


_GpuActor: Any = ray.remote(num_gpus=1, num_cpus=0, max_restarts=0, max_task_retries=0)(_Gpu)


@ray.remote(num_cpus=0, max_retries=0)
def _look(look: Callable[..., str | None], *words: Any) -> str | None:
    return look(*words)


def start(address: str | None, workers: int | None) -> None:
    """Start or join Ray. Raises RunError where that fails, and UsageError for a wrong address or token."""
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
        except Exception as error:  # what can be wrong with a machine is without end
            raise RunError(f"Ray did not start ({first_line(error)})") from None
        return
    joining.check(address)
    try:
        with connecting():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # as above
        if "Version mismatch" in str(error):
            raise UsageError(f"the cluster at {address} is another: {' '.join(str(error).split())}") from None
        raise RunError(f"no Ray cluster at {address} ({first_line(error)}): is it up?") from None


def gpus() -> int:
    """The GPUs of the cluster that was started or joined."""
    return int(local_ray.resources().get("GPU", 0))


def ask_gpu(do: Callable[..., Result], *words: Any) -> Result:
    """What a function gives on a machine with a GPU, which it has to itself. Raises RunError where that fails."""
    if not gpus():  # an actor would wait for one for ever
        raise RunError(
            "CUDA shows a GPU but Ray, which asks NVML, none: in a container, NVIDIA_DRIVER_CAPABILITIES must "
            "have utility"
        )
    actor = _GpuActor.remote()
    try:
        found: Result = ray.get(actor.call.remote(do, *words))
        return found
    except ray.exceptions.RayTaskError as error:
        raise RunError(f"the GPU cannot be used ({first_line(error.cause)})") from None
    except ray.exceptions.RayError as error:
        raise RunError(f"the process that was to use the GPU has died ({first_line(error)})") from None
    finally:
        ray.kill(actor)


def check_nodes(look: Callable[..., str | None], *words: Any, patience: float = _PATIENCE) -> None:
    """Raises UsageError where `look(*words)`, on a node of the cluster that can do work, says what is wrong there.

    A node that has not said anything after `patience` seconds is taken to have gone.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and {"CPU", "GPU"} & node["Resources"].keys()]
    looks = {
        _look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            look, *words
        ): node["NodeManagerAddress"]
        for node in nodes
    }
    seen, _ = ray.wait(list(looks), num_returns=len(looks), timeout=patience)
    for reference in seen:
        try:
            problem = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            problem = first_line(error.cause)
        except ray.exceptions.RayError:  # a node that has gone does no work
            continue
        if problem:
            raise UsageError(f"on the node {looks[reference]}, {problem}")


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: the id that Ray has given it, its address, and how many CPUs or GPUs it has."""

    id: str
    address: str
    count: int


def nodes(resource: str) -> list[Node]:
    """The nodes that have a `CPU` or a `GPU`, those with most of them first, and then by address."""
    found = [
        Node(node["NodeID"], node["NodeManagerAddress"], int(node["Resources"][resource]))
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get(resource, 0) >= 1
    ]
    return sorted(found, key=lambda node: (-node.count, node.address, node.id))


def this_node() -> str:
    """The id of the node that this process works on."""
    found: str = ray.get_runtime_context().get_node_id()
    return found


def ask_nodes(
    of: Sequence[Node], resource: str, do: Callable[..., Result], *words: Any, patience: float = _PATIENCE
) -> dict[Node, Result | RunError]:
    """What a function gives on each of these nodes, or why it gives nothing; a GPU is had for that.

    A node that has not said anything after `patience` seconds is taken to have gone, and is not in what comes back.
    """
    asked: dict[ray.ObjectRef[Any], Node] = {}
    actors = []
    for node in of:
        strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
        if resource == "GPU":
            actors.append(_GpuActor.options(scheduling_strategy=strategy).remote())
            asked[actors[-1].call.remote(do, *words)] = node
        else:
            asked[_look.options(scheduling_strategy=strategy).remote(do, *words)] = node
    try:
        seen, _ = ray.wait(list(asked), num_returns=len(asked), timeout=patience)
        answers: dict[Node, Result | RunError] = {}
        for reference in seen:
            try:
                answers[asked[reference]] = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                answers[asked[reference]] = RunError(first_line(error.cause))
            except ray.exceptions.RayError:  # it has gone
                continue
        return answers
    finally:
        for actor in actors:
            ray.kill(actor)


class _Lane(ABC):
    """Where pieces of one kind are worked on: `room` of them at a time, fewer where memory was short."""

    resource: str

    def __init__(self, supply: Supply[Any], work: Work[Any, Any, Any], job: ray.ObjectRef[Any]) -> None:
        self._without = set(work.without.get(self.resource, ()))
        self.supply = supply
        self._work, self._job = work, job
        self._again: deque[_Attempt] = deque()
        self._unfit: UnfitError | None = None
        self._spared = 0
        self.running: dict[ray.ObjectRefGenerator[Any], _Attempt] = {}

    @abstractmethod
    def room(self) -> int: ...

    @abstractmethod
    def submit(self, *words: Any) -> ray.ObjectRefGenerator[Any]: ...

    @property
    def workers(self) -> int:
        """How many pieces are worked on at a time."""
        return max(1, self.room() - self._spared)

    def leave(self, stream: ray.ObjectRefGenerator[Any], lost: bool) -> None:
        """A piece has come to its end, or its worker has."""
        del self.running[stream]

    @property
    def where(self) -> dict[str, Any]:
        """Ray's options by which a piece goes to none of the nodes that are left out."""
        if not self._without:
            return {}
        return {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(self._without))})"}}

    def count(self) -> int:
        """How many CPUs or GPUs there are on the nodes that are not left out."""
        return sum(node.count for node in nodes(self.resource) if node.id not in self._without)

    def leave_out(self, attempt: _Attempt, error: UnfitError) -> None:
        """Begin an attempt again elsewhere, and give its node no more."""
        if error.node not in self._without:
            self._without.add(error.node)
            address = next((node.address for node in nodes(self.resource) if node.id == error.node), error.node)
            say(f"node {address} is left out: {error}")
        self._unfit = error
        attempt.count -= 1
        self._again.append(attempt)

    def fill(self) -> None:
        """Begin as many pieces as there is room for. Raises UnfitError where the nodes that are left out are all."""
        if self._unfit and not self.count():
            raise self._unfit
        while len(self.running) < (workers := self.workers):
            attempt = self._next(workers)
            if attempt is None:
                return
            attempt.count += 1
            attempt.began = time.monotonic()
            careful = attempt.losses >= _UNEXPLAINED
            pause = max(_TOLD, workers / _MOST_TOLD)
            self.running[self.submit(pause, self._work.do, attempt.piece, self._job, careful)] = attempt

    def _next(self, workers: int) -> _Attempt | None:
        if self._again:
            return self._again.popleft()
        piece = self.supply.take(workers)
        return None if piece is None else _Attempt(piece)

    def retry(self, attempt: _Attempt, lost: _Lost) -> None:
        """Begin an attempt again later. Raises RunError where it was begun often enough."""
        reason, limit = lost.reason, self._work.limit
        if limit is not None and time.monotonic() - attempt.began >= limit:
            reason = f"it took longer than {limit:.0f} s{self._work.hint}"
        name = self._work.name(attempt.piece)
        if attempt.count == _ATTEMPTS:
            raise RunError(f"{name} was tried {_ATTEMPTS} times and lost its worker each time: {reason}")
        say(f"{name} lost its worker and is made again: {reason}")
        attempt.losses += not lost.memory
        self._spared += lost.memory
        self._again.append(attempt)


class _Cpus(_Lane):
    resource = "CPU"
    most: int | None = None

    def room(self) -> int:
        # Asked for anew each time: nodes come and go.
        return self.most or (self.count() if self._without else int(local_ray.resources().get("CPU", 1)))

    def submit(self, *words: Any) -> ray.ObjectRefGenerator[Any]:
        stream: ray.ObjectRefGenerator[Any] = _work.options(**self.where).remote(*words)
        return stream


class _Gpus(_Lane):
    resource = "GPU"

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self._idle: list[Any] = []
        self._busy: dict[ray.ObjectRefGenerator[Any], Any] = {}

    def room(self) -> int:
        return self.count() if self._without else gpus()

    def submit(self, *words: Any) -> ray.ObjectRefGenerator[Any]:
        actor = self._idle.pop() if self._idle else _GpuActor.options(**self.where).remote()
        stream: ray.ObjectRefGenerator[Any] = actor.work.options(num_returns="streaming").remote(*words)
        self._busy[stream] = actor
        return stream

    def leave(self, stream: ray.ObjectRefGenerator[Any], lost: bool) -> None:
        super().leave(stream, lost)
        actor = self._busy.pop(stream)
        if lost:
            ray.kill(actor)
        else:
            self._idle.append(actor)

    def end(self) -> None:
        for actor in (*self._idle, *self._busy.values()):
            ray.kill(actor)


def run(
    work: Work[Piece, Any, Result],
    on_cpus: Supply[Piece],
    on_gpus: Supply[Piece],
    workers: int | None,
    tick: float,
) -> Iterator[Finished[Piece, Result] | Progress | None]:
    """Do the work; yields each piece as it is finished, how many images are done meanwhile, and None every `tick`
    seconds without.

    At most `workers` (by default the cluster's CPUs) are worked on at a time besides those on GPUs. Raises RunError for
    a worker that is lost again and again, once all that is still supplied is done, and at once what `do` raises and for
    a process of a local Ray.
    """
    job = ray.put(work.job)
    cpus, with_gpus = _Cpus(on_cpus, work, job), _Gpus(on_gpus, work, job)
    cpus.most = workers
    lanes: tuple[_Lane, ...] = (cpus, with_gpus)
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
                said = _next(stream, work.name(attempt.piece))
                if isinstance(said, int):
                    attempt.images += said
                    yield Progress(said)
                    continue
                lane.leave(stream, isinstance(said, (_Lost, UnfitError)))
                if isinstance(said, _Ended):
                    lane.supply.finished(attempt.piece, cpus.workers)
                    yield Progress(said.images)
                    yield Finished(attempt.piece, said.result)
                    continue
                yield Progress(-attempt.images)
                attempt.images = 0
                if isinstance(said, UnfitError):
                    lane.leave_out(attempt, said)
                    continue
                try:
                    lane.retry(attempt, said)
                except RunError as error:
                    say(f"{error}; what has been begun is finished")
                    failure = failure or error
                    lane.supply.failed(attempt.piece)
            if not ready:
                yield None
        if failure:
            raise failure
    finally:
        # Tasks that still run end when the driver leaves: where one that ends by itself is cancelled as well, Ray 2.60
        # may take the driver down.
        with_gpus.end()


def _next(stream: ray.ObjectRefGenerator[Any], name: str) -> int | _Ended | _Lost | UnfitError:
    """What is known of a piece since it was last asked. Raises RunError where trying again is of no use."""
    try:
        said: int | _Ended = ray.get(next(stream))
        return said
    except StopIteration:  # it is told of its end before
        return _Lost("it ended without a word")
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MemoryError):
            return _Lost("memory was short", memory=True)
        if isinstance(cause, UnfitError):
            return cause
        if isinstance(cause, SysNoiseError):
            raise cause from None
        raise RunError(f"{name} failed: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.OutOfMemoryError:
        return _Lost("memory was short, and Ray ended it", memory=True)
    except ray.exceptions.ActorDiedError as error:
        return _Lost(str(error).splitlines()[-1])  # how it died; the lines before say who
    except ray.exceptions.RayError as error:
        return _Lost(first_line(error))


def stop() -> None:
    """Leave the cluster, or end the local Ray."""
    ray.shutdown()
