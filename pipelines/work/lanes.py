"""Lanes: where pieces are processed, as Ray tasks of one CPU each, or by an actor for each GPU of the cluster.

A piece whose worker is lost is retried. After several losses it is processed with care, so that what kills its workers
can be found; after some more it fails. A node that reports itself unfit gets no more pieces.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
import ray.exceptions

from pipelines.errors import RunError, SysNoiseError, UnfitError
from pipelines.progress import say
from pipelines.text import first_line
from pipelines.work import Supply, Work, local_ray
from pipelines.work.nodes import gpus, nodes
from pipelines.work.tasks import Ended, GpuActor, process

# How often a piece is started at most, and how many workers it may cost before it is processed with care.
_ATTEMPTS, _UNEXPLAINED = 5, 2
# Seconds between two reports of a worker, and the most reports in a second from all workers together.
_REPORT_PAUSE, _MOST_REPORTS = 1.0, 200


class Lost(NamedTuple):
    """Why a worker did not finish its piece, and whether it ran out of memory."""

    reason: str
    memory: bool = False


@dataclass
class Attempt:
    """A piece, when and how often it was started, how many workers it has cost, and its images reported so far."""

    piece: Any
    began: float = 0.0
    count: int = 0
    losses: int = 0
    images: int = 0


class Lane(ABC):
    """Pieces in progress on one kind of resource: `room` at a time, fewer after memory ran out."""

    resource: str

    def __init__(self, supply: Supply[Any], work: Work[Any, Any, Any], job: ray.ObjectRef[Any]) -> None:
        self._without = set(work.without.get(self.resource, ()))
        self.supply = supply
        self._work, self._job = work, job
        self._again: deque[Attempt] = deque()
        self._unfit: UnfitError | None = None
        self._spared = 0
        self.running: dict[ray.ObjectRefGenerator[Any], Attempt] = {}

    @abstractmethod
    def room(self) -> int: ...

    @abstractmethod
    def submit(self, *words: Any) -> ray.ObjectRefGenerator[Any]: ...

    @property
    def workers(self) -> int:
        """How many pieces are processed at a time."""
        return max(1, self.room() - self._spared)

    def leave(self, stream: ray.ObjectRefGenerator[Any], lost: bool) -> None:
        """Take note that a piece is finished, or that its worker was lost."""
        del self.running[stream]

    @property
    def placement(self) -> dict[str, Any]:
        """Ray's options that keep a piece off the excluded nodes."""
        if not self._without:
            return {}
        return {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(self._without))})"}}

    def count(self) -> int:
        """How many CPUs or GPUs the nodes have that are not excluded."""
        return sum(node.count for node in nodes(self.resource) if node.id not in self._without)

    def leave_out(self, attempt: Attempt, error: UnfitError) -> None:
        """Exclude the node of an attempt, and retry the attempt elsewhere."""
        if error.node not in self._without:
            self._without.add(error.node)
            address = next((node.address for node in nodes(self.resource) if node.id == error.node), error.node)
            say(f"node {address} is left out: {error}")
        self._unfit = error
        attempt.count -= 1
        self._again.append(attempt)

    def fill(self) -> None:
        """Start as many pieces as there is room for. Raises UnfitError if every node is excluded."""
        if self._unfit and not self.count():
            raise self._unfit
        while len(self.running) < (workers := self.workers):
            attempt = self._next(workers)
            if attempt is None:
                return
            attempt.count += 1
            attempt.began = time.monotonic()
            careful = attempt.losses >= _UNEXPLAINED
            pause = max(_REPORT_PAUSE, workers / _MOST_REPORTS)
            self.running[self.submit(pause, self._work.do, attempt.piece, self._job, careful)] = attempt

    def _next(self, workers: int) -> Attempt | None:
        if self._again:
            return self._again.popleft()
        piece = self.supply.take(workers)
        return None if piece is None else Attempt(piece)

    def retry(self, attempt: Attempt, lost: Lost) -> None:
        """Queue an attempt again. Raises RunError if it was started often enough."""
        reason, limit = lost.reason, self._work.limit
        if limit is not None and time.monotonic() - attempt.began >= limit:
            reason = f"it took longer than {limit:.0f} s{self._work.hint}"
        name = self._work.name(attempt.piece)
        if attempt.count == _ATTEMPTS:
            raise RunError(f"{name} was tried {_ATTEMPTS} times and lost its worker each time: {reason}")
        say(f"{name} lost its worker and is tried again: {reason}")
        attempt.losses += not lost.memory
        self._spared += lost.memory
        self._again.append(attempt)


class Cpus(Lane):
    """Tasks of one CPU each; at most `most` at a time, by default as many as there are CPUs."""

    resource = "CPU"
    most: int | None = None

    def room(self) -> int:
        # Asked each time, since nodes join and leave.
        return self.most or (self.count() if self._without else int(local_ray.resources().get("CPU", 1)))

    def submit(self, *words: Any) -> ray.ObjectRefGenerator[Any]:
        stream: ray.ObjectRefGenerator[Any] = process.options(**self.placement).remote(*words)
        return stream


class Gpus(Lane):
    """An actor for each GPU, kept from piece to piece."""

    resource = "GPU"

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self._idle: list[Any] = []
        self._busy: dict[ray.ObjectRefGenerator[Any], Any] = {}

    def room(self) -> int:
        return self.count() if self._without else gpus()

    def submit(self, *words: Any) -> ray.ObjectRefGenerator[Any]:
        actor = self._idle.pop() if self._idle else GpuActor.options(**self.placement).remote()
        stream: ray.ObjectRefGenerator[Any] = actor.process.options(num_returns="streaming").remote(*words)
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
        """Kill all actors."""
        for actor in (*self._idle, *self._busy.values()):
            ray.kill(actor)


def next_report(stream: ray.ObjectRefGenerator[Any], name: str) -> int | Ended | Lost | UnfitError:
    """The next report on the piece called `name`. Raises RunError if retrying cannot help."""
    try:
        report: int | Ended = ray.get(next(stream))
        return report
    except StopIteration:  # the last report should have been Ended
        return Lost("it ended without a report")
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MemoryError):
            return Lost("memory was short", memory=True)
        if isinstance(cause, UnfitError):
            return cause
        if isinstance(cause, SysNoiseError):
            raise cause from None
        raise RunError(f"{name} failed: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.OutOfMemoryError:
        return Lost("memory was short, and Ray ended it", memory=True)
    except ray.exceptions.ActorDiedError as error:
        return Lost(str(error).splitlines()[-1])  # how it died; the lines before say which actor
    except ray.exceptions.RayError as error:
        return Lost(first_line(error))
