"""Reads samples' bytes: one after another from a disk, several at a time from an object store.

Order is kept, and what is read ahead is bounded in number and in bytes. A file that was listed but cannot be read later
is an error of the source, not of a sample. Refuses files larger than any photograph.
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

# Read-ahead: a store answers each request late, but many at once.
_THREADS = 8
_AHEAD, _AHEAD_BYTES = 16, 2**25
# Bytes between two pieces that are cheaper to fetch along with them than to skip with another request.
_GAP = 2**16


def in_order(
    place: Place, work: Iterable[Work], fetch: Callable[[Work], Result], size: Callable[[Work], int] = lambda _: 0
) -> Generator[Result, None, None]:
    """Results of `fetch` for each item, in order. If `place` is in an object store, several are fetched at a time.

    `size` gives the number of bytes that an item's result has.
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
    """An image's bytes. Raises SourceError if they cannot be read, since the file existed when it was listed."""
    try:
        with place.open() as file:
            return read_at_most(file, LARGEST_IMAGE)
    except OSError as error:
        raise unreadable(place, error) from None
    except ValueError as error:
        return Missing(f"source: refused, since {error}")


def unreadable(place: Place, error: Exception) -> SourceError:
    """The error for a file that existed when it was listed but cannot be read now."""
    return SourceError(f"{place} can no longer be read ({error}): whole shards are kept; fix that and run again")


def read_files(root: Place, samples: Iterable[Sample]) -> Iterator[bytes | Missing]:
    """The bytes of samples that are files below `root`. A place is empty, or begins with a path or BROKEN."""

    def fetch(sample: Sample) -> bytes | Missing:
        if sample.place[:1] == BROKEN:
            return BROKEN_LINK
        return read_file(root / sample.place[0]) if sample.place else ABSENT

    return in_order(root, samples, fetch, lambda sample: sample.size)


@dataclass(frozen=True)
class Chore(Generic[Work, Result]):
    """A function to apply to many items, `fetch(item)`, which is picklable so that workers can do it.

    `name` is its name in messages, and `place` where the items are. An item takes about `seconds` of processor time,
    and `size` estimates the bytes of its result.
    """

    name: str
    place: Place
    fetch: Callable[[Work], Result]
    seconds: float
    size: Callable[[Result], int]


class Spread(Protocol):
    """Runs a chore, here or on workers."""

    def __call__(self, chore: Chore[Work, Result], pieces: Sequence[Work]) -> Iterator[Result]:
        """The chore's result for each item, in order."""


def here(chore: Chore[Work, Result], pieces: Sequence[Work]) -> Iterator[Result]:
    """Run a chore in this process."""
    return in_order(chore.place, pieces, chore.fetch)


class Piece(NamedTuple):
    """A part of a file: the file's number, and the part's offset and length in bytes."""

    file: int
    offset: int
    length: int


def read_pieces(files: Sequence[Place], pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The pieces' bytes, in order. Nearby pieces are fetched in one go. A piece past the end of its file is shorter."""

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
    """The pieces in order, grouped into runs of nearby pieces in one file, each of at most a block."""
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
