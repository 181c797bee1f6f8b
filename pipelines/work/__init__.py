"""Work in pieces: what is done with each piece, and how progress is reported, whoever does the work.

A generator processes a piece: it yields how many more images it has done, and returns the result. Processing a piece
twice must give the same result. `crew` chooses who does the work: `processes` of this machine, or the tasks and actors
of the `engine`, which runs on Ray: on a `local_ray`, or on the `cluster` at an address.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

# Ray reads these when it is imported: it would report usage to a server, and rewrite an unset GPU list.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

Piece = TypeVar("Piece")
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Work(Generic[Piece, Job, Result]):
    """What is done with each piece: `do(piece, job, careful)`, a module-level function, runs in a worker process.

    `job` is shared by all pieces. `name` names a piece in messages. After several losses of its worker, a piece is
    processed with `careful`. If `do` kills its process after `limit` seconds, `hint` tells the user what to do if that
    is too short. `without` holds, for `CPU` and `GPU`, the ids of the cluster's nodes that get no such pieces.
    """

    do: Callable[[Piece, Job, bool], Generator[int, None, Result]]
    job: Job
    name: Callable[[Piece], str]
    limit: float | None = None
    hint: str = ""
    without: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished(Generic[Piece, Result]):
    """A finished piece and its result."""

    piece: Piece
    result: Result


class Progress(NamedTuple):
    """How many more images of unfinished pieces are done; negative after a worker was lost."""

    images: int


class Supply(Protocol[Piece]):
    """Where pieces come from: asked for one when there is room for it."""

    def take(self, workers: int) -> Piece | None:
        """The next piece, for one of `workers` workers; None if there is none until another piece is finished."""

    def finished(self, piece: Piece, workers: int) -> None:
        """Take note that a piece is finished."""

    def failed(self, piece: Piece) -> None:
        """Take note that a piece has failed for good: from now on, give only pieces that must be done nevertheless."""


class InTurn(Generic[Piece]):
    """A supply of independent pieces."""

    def __init__(self, pieces: Iterable[Piece] = ()) -> None:
        self._pieces = iter(pieces)

    def take(self, workers: int) -> Piece | None:
        return next(self._pieces, None)

    def finished(self, piece: Piece, workers: int) -> None:
        pass

    def failed(self, piece: Piece) -> None:
        self._pieces = iter(())
