"""A source's samples in order: in memory if they are few, in an unnamed file if they are many.

SQLite does both, and sorts what does not fit into memory. Its file is in `SQLITE_TMPDIR` or `TMPDIR` (else in /var/tmp
or /tmp), and disappears with the process, however that ends. Refuses keys that are not unique or that do not fit into a
tar.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import marshal
import operator
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from manifests.images import IMAGES
from manifests.row import UNFIT
from pipelines.errors import RunError, UsageError
from pipelines.generate.sources.base import Sample
from pipelines.text import number_of

_LONGEST_PATH = 4096  # Linux's PATH_MAX
# Bytes of memory that SQLite uses for its pages, and again for sorting.
_MEMORY = 2**25
# SQLite's own steps between two chances to handle Ctrl-C.
_STEPS = 10_000_000
# The last marshal format without back references. No other process reads it.
_PLAIN = 2
# Samples read from the file at a time when iterating.
_MANY = 1000


class Catalogue(Sequence[Sample]):
    """The first `limit` of some samples, sorted by key.

    `sha256` is a digest of their keys, labels, paths and sizes: it changes when the set does. Raises UsageError for bad
    keys, including those beyond the limit, and RunError if the file runs out of space.

    All samples that share a key get longer ones, if `longer_keys` has some for their paths. `renamed` counts them, and
    `example` is one of their keys.
    """

    sha256: str
    renamed: int = 0
    example: str = ""

    def __init__(
        self,
        samples: Iterable[Sample],
        limit: int | None = None,
        memory: int = _MEMORY,
        longer_keys: Callable[[str], Sequence[str]] | None = None,
        longest_key: int = IMAGES.longest_key,
    ) -> None:
        self._longest_key = longest_key
        # An empty name creates a private database, whose file is unlinked as soon as it is opened. Garbage collection
        # may close it from another thread.
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._base.close)
        with _explained():
            # Nothing is ever read back after a crash.
            for setting in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE", f"cache_size=-{memory // 1024}"):
                self._base.execute(f"PRAGMA {setting}")
            self._base.set_progress_handler(lambda: 0, _STEPS)
            self._base.execute("CREATE TABLE ordered (at INTEGER PRIMARY KEY, key TEXT, rest BLOB)")
            self._order(map(self._row, samples))
            problem = self._check(limit)
            while problem and longer_keys and self._lengthen(longer_keys):
                problem = self._check(limit)
        if problem:
            raise problem

    def _order(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Replace the current rows by these, sorted by key."""
        self._base.execute("ATTACH '' AS found")
        self._base.execute("CREATE TABLE found.listed (key TEXT, rest BLOB)")
        self._base.execute("BEGIN")
        self._base.executemany("INSERT INTO listed VALUES (?, ?)", rows)
        self._base.execute("DELETE FROM ordered")
        self._base.execute("INSERT INTO ordered (key, rest) SELECT key, rest FROM listed ORDER BY key, rest")
        self._base.execute("COMMIT")
        self._base.execute("DETACH found")

    def _rows(self) -> Iterator[tuple[str, bytes]]:
        return self._base.execute("SELECT key, rest FROM ordered ORDER BY at")

    def _lengthen(self, longer_keys: Callable[[str], Sequence[str]]) -> bool:
        """Give each sample that shares its key the next longer one. Returns whether any key changed.

        Which samples those are depends on the set of all keys, not on the order in which they were found.
        """
        changed = False

        def lengthened() -> Iterator[tuple[str, bytes]]:
            nonlocal changed
            for key, group in itertools.groupby(self._rows(), operator.itemgetter(0)):
                rows = list(group)
                if len(rows) > 1:
                    samples = [_sample(*row) for row in rows]
                    keys = [_next(key, longer_keys(sample.path)) for sample in samples]
                    changed |= any(new != key for new in keys)
                    self.renamed += sum(key not in longer_keys(sample.path) for sample in samples)
                    self.example = self.example or keys[0]
                    rows = [self._row(sample._replace(key=new)) for sample, new in zip(samples, keys, strict=True)]
                yield from rows

        self._order(lengthened())
        return changed

    def _row(self, sample: Sample) -> tuple[str, bytes]:
        """A sample as a row of the database. Raises UsageError for a key that does not fit into a tar."""
        key, _, path, *_ = sample
        name = f"{key}{path}"
        short = key and len(key) <= self._longest_key and len(path) <= _LONGEST_PATH
        if not (short and name.isascii() and name.isprintable() and "\\" not in name):  # a fast check for most names
            _check_name(sample, self._longest_key)
        return key, marshal.dumps(sample[1:], _PLAIN)

    def _check(self, limit: int | None) -> UsageError | None:
        """One pass over all samples: checks that keys differ, and computes the digest of those within the limit."""
        total = hashlib.sha256()
        count = twice = 0
        before = "", b""
        first: tuple[Sample, Sample] | None = None
        for row in self._rows():
            if count and row[0] == before[0]:
                twice += 1
                first = first or (_sample(*before), _sample(*row))
            if limit is None or count < limit:
                total.update(_line(*row))
            before = row
            count += 1
        self._count = count if limit is None else min(count, limit)
        self.sha256 = total.hexdigest()
        if first is None:
            return None
        one, other = first
        return UsageError(
            f"{number_of(twice, 'duplicate key')}: {one.path} and {other.path} would both be "
            f"{one.key!r}; rename one of them"
        )

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Sample]: ...
    def __getitem__(self, at: int | slice) -> Sample | Sequence[Sample]:
        wanted = range(self._count)[at]
        if isinstance(wanted, int):
            return self._between(wanted, wanted)[0]
        if not wanted:
            return []
        first, last = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
        found = self._between(first, last)
        return found if wanted.step == 1 else [found[index - first] for index in wanted]

    def _between(self, first: int, last: int) -> list[Sample]:
        question = "SELECT key, rest FROM ordered WHERE at BETWEEN ? AND ? ORDER BY at"
        with _explained():
            return [_sample(key, rest) for key, rest in self._base.execute(question, (first + 1, last + 1))]

    def __iter__(self) -> Iterator[Sample]:
        for start in range(0, self._count, _MANY):
            yield from self[start : start + _MANY]


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if str(error) == "interrupted":  # SQLite's translation of a KeyboardInterrupt
            raise KeyboardInterrupt from None
        raise RunError(
            f"the list of samples does not fit into the temporary folder ({error}): make room, or set TMPDIR to another"
        ) from None


def _next(key: str, longer: Sequence[str]) -> str:
    """The next longer key."""
    return longer[min(longer.index(key) + 1, len(longer) - 1)] if key in longer else longer[0]


def _line(key: str, rest: bytes) -> bytes:
    """A sample's line in the digest."""
    label, path, size, _, extra = marshal.loads(rest)
    return ("\t".join((key, str(label), path, str(size), *map(str, extra))) + "\n").encode()


def _check_name(sample: Sample, longest_key: int) -> None:
    """Raises UsageError for a key that does not fit into a tar, and a path that no system allows."""
    try:
        key, path = len(sample.key.encode()), len(sample.path.encode())
    except UnicodeEncodeError:
        raise UsageError(f"the name {sample.path!a} is not UTF-8: rename the file") from None
    if not sample.key or UNFIT.search(sample.key + sample.path):
        raise UsageError(
            f"the name {sample.path!a} is empty, or has control characters or a backslash: rename the file"
        )
    if key > longest_key:
        raise UsageError(
            f"the key of {sample.path} would be longer than {longest_key} bytes, which a tar cannot hold: "
            "rename the file"
        )
    if path > _LONGEST_PATH:
        raise UsageError(f"the path of {sample.key} is longer than {_LONGEST_PATH:,} bytes: shorten it")


def _sample(key: str, rest: bytes) -> Sample:
    return Sample(key, *marshal.loads(rest))
