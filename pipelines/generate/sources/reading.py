"""Reading what many samples need: each by itself on a disk, several at a time from an object store.

Order is kept, and what is read ahead is bounded in number and in bytes. A file that was listed and cannot be read any
more is the source's fault, and no sample's. Refuses files that are larger than any photograph.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from manifests.untrusted import read_at_most
from pipelines.errors import SourceError
from pipelines.generate.sources.base import ABSENT, BROKEN, BROKEN_LINK, LARGEST_IMAGE, Missing, Sample
from pipelines.store import BLOCK, Disk, Pieces, Place, abandoned

Work = TypeVar("Work")
Result = TypeVar("Result")

# How much is asked for before it is needed: a store answers each question late, and many at once.
_THREADS = 8
_AHEAD, _AHEAD_BYTES = 16, 2**25
# Bytes between two pieces that are cheaper to fetch along with them than to leave out by another request.
_GAP = 2**16


def in_order(
    place: Place, work: Iterable[Work], fetch: Callable[[Work], Result], size: Callable[[Work], int] = lambda _: 0
) -> Generator[Result, None, None]:
    """What `fetch` gives for each piece of work, in order; several at a time where `place` is in an object store.

    `size` says how many bytes a result holds.
    """
    if isinstance(place, Disk):
        yield from map(fetch, work)
        return
    waiting: deque[tuple[Future[Result], int]] = deque()
    held = 0
    given_up = threading.Event()
    pool = ThreadPoolExecutor(_THREADS, initializer=abandoned.set, initargs=(given_up,))
    try:
        for item in work:
            more = size(item)
            while waiting and (len(waiting) >= _AHEAD or held + more > _AHEAD_BYTES):
                future, less = waiting.popleft()
                held -= less
                yield future.result()
            waiting.append((pool.submit(fetch, item), more))
            held += more
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        given_up.set()
        pool.shutdown(cancel_futures=True)


def read_file(place: Place) -> bytes | Missing:
    """An image's bytes. Raises SourceError where they cannot be read: the file was there when it was listed."""
    try:
        with place.open() as file:
            return read_at_most(file, LARGEST_IMAGE)
    except OSError as error:
        raise unreadable(place, error) from None
    except ValueError as error:
        return Missing(f"source: refused, since {error}")


def unreadable(place: Place, error: Exception) -> SourceError:
    """The error of a source that was there when it was listed and cannot be read now."""
    return SourceError(f"{place} cannot be read any more ({error}): whole shards are kept; see to it and run again")


def read_files(root: Place, samples: Iterable[Sample]) -> Iterator[bytes | Missing]:
    """The bytes of samples that are files below `root`: a place begins with a path there or as BROKEN, or is empty."""

    def fetch(sample: Sample) -> bytes | Missing:
        if sample.place[:1] == BROKEN:
            return BROKEN_LINK
        return read_file(root / sample.place[0]) if sample.place else ABSENT

    return in_order(root, samples, fetch, lambda sample: sample.size)


@dataclass(frozen=True)
class Chore(Generic[Work, Result]):
    """What is to be read of each piece of work, by which it can be split up: `fetch(piece)`, which can be pickled.

    `name` is what it is called, and `place` where the pieces lie. Each takes a processor about so many `seconds`, and
    `size` says about how many bytes its result holds.
    """

    name: str
    place: Place
    fetch: Callable[[Work], Result]
    seconds: float
    size: Callable[[Result], int]


class Spread(Protocol):
    """A way to do a chore."""

    def __call__(self, chore: Chore[Work, Result], pieces: Sequence[Work]) -> Iterator[Result]:
        """What the chore gives for each piece, in order."""


def here(chore: Chore[Work, Result], pieces: Sequence[Work]) -> Iterator[Result]:
    """Do a chore in this process."""
    return in_order(chore.place, pieces, chore.fetch)


class Piece(NamedTuple):
    """A part of a file: the file's number, and where the part begins and how long it is, in bytes."""

    file: int
    offset: int
    length: int


def read_pieces(files: Sequence[Place], pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The pieces' bytes in their order: those that lie close together in one go. One past the file's end is shorter."""

    @functools.cache
    def opened(number: int) -> Pieces:
        try:
            return files[number].pieces()
        except OSError as error:
            raise unreadable(files[number], error) from None

    def fetch(work: tuple[Pieces, list[Piece]]) -> list[bytes]:
        source, run = work
        start = run[0].offset
        try:
            data = source.read(start, _length(run))
        except OSError as error:
            raise unreadable(files[run[0].file], error) from None
        return [data[piece.offset - start : piece.offset - start + piece.length] for piece in run]

    work = ((opened(run[0].file), run) for run in _runs(pieces))
    for parts in in_order(files[0], work, fetch, lambda work: _length(work[1])):
        yield from parts


def _length(run: Sequence[Piece]) -> int:
    return run[-1].offset + run[-1].length - run[0].offset


def _runs(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """The pieces in their order, cut into runs of a block at most that lie close together in one file."""
    run: list[Piece] = []
    for piece in pieces:
        if run and not _fits(run, piece):
            yield run
            run = []
        run.append(piece)
    if run:
        yield run


def _fits(run: Sequence[Piece], piece: Piece) -> bool:
    end = run[-1].offset + run[-1].length
    near = piece.file == run[0].file and end <= piece.offset <= end + _GAP
    return near and _length((run[0], piece)) <= BLOCK
