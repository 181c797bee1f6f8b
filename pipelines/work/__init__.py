"""Work in pieces: what is done with each, and what is heard of them, whoever does it.

A piece is done by a generator that yields how many images it has done, each time that it has done some, and returns
what came of it. What is done twice must come to the same. `crew` chooses who does it: `processes` of this machine, or
the tasks and actors of the `engine`, which is Ray's: a `local_ray`, or the `cluster` at an address.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

Piece = TypeVar("Piece")
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Work(Generic[Piece, Job, Result]):
    """What is done with each piece: `do(piece, job, careful)`, a function of a module, in a worker's process.

    `job` is what all pieces share. `name` is what a piece is called. After several losses of its worker a piece is done
    with care. Where `do` ends its process after `limit` seconds, `hint` says what the user can do where that is too
    short. `without` are the ids of a cluster's nodes that get no piece for their `CPU` or `GPU`, by what of the two it
    is.
    """

    do: Callable[[Piece, Job, bool], Generator[int, None, Result]]
    job: Job
    name: Callable[[Piece], str]
    limit: float | None = None
    hint: str = ""
    without: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished(Generic[Piece, Result]):
    """A piece that is done, and what came of it."""

    piece: Piece
    result: Result


class Progress(NamedTuple):
    """So many more images are done of a piece that is worked on; fewer where its worker was lost."""

    images: int


class Supply(Protocol[Piece]):
    """Where pieces come from: asked for one when there is room for it."""

    def take(self, workers: int) -> Piece | None:
        """The next piece, for one of so many workers; None where there is none until another is finished."""

    def finished(self, piece: Piece, workers: int) -> None:
        """A piece is done."""

    def failed(self, piece: Piece) -> None:
        """A piece has been begun as often as it may be: from now on, give what should be done all the same."""


class InTurn(Generic[Piece]):
    """A supply of pieces that have nothing to do with one another."""

    def __init__(self, pieces: Iterable[Piece] = ()) -> None:
        self._pieces = iter(pieces)

    def take(self, workers: int) -> Piece | None:
        return next(self._pieces, None)

    def finished(self, piece: Piece, workers: int) -> None:
        pass

    def failed(self, piece: Piece) -> None:
        self._pieces = iter(())
