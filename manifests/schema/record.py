"""Records: one for each shard and variant, with all of its rows."""

from __future__ import annotations

import functools
import hashlib
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from manifests.canonical import canonical_json
from manifests.place import Place
from manifests.plain import are_plain
from manifests.row import UNFIT, Kind, Row, is_key
from manifests.schema.names import MOST_SHARDS, ManifestError
from manifests.schema.recipe import RECIPE, Recipe, expect_recipe
from manifests.shape import COUNT, SHA256, expect
from manifests.splits import shard_name
from manifests.untrusted import LARGEST_JSON, MOST_ROWS, parse_description

_RECORD = {
    **{"shard": COUNT, "shards": range(1, MOST_SHARDS + 1), "recipe": RECIPE},
    **{"tar": {"bytes": COUNT, "sha256": SHA256}, "rows": {}},
}


def _whole(value: Any) -> bool:
    return type(value) is int and -(2**31) <= value < 2**31


def _number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


def _text(value: Any) -> bool:
    return isinstance(value, str)


# Whether a JSON value fits a column of this type.
_KINDS = {pa.string(): _text, pa.int32(): _whole, pa.float64(): _number}


def check_rows(rows: Sequence[Row], kind: Kind) -> None:
    """Raises TypeError for the first row with an invalid value."""
    for row in rows:
        for column in kind.columns:
            value = getattr(row, column.name)
            if not (column.nullable if value is None else _KINDS[column.type](value)):
                what = f"{column.name} of {reprlib.repr(row.key)} is {reprlib.repr(value)}"
                raise TypeError(f"{what}, not {column.type}")
        shown = (getattr(row, name) or "" for name in kind.shown)
        long = len(row.key.encode()) > kind.longest_key
        if long or not is_key(row.key) or any(map(UNFIT.search, shown)) or not isinstance(row.extra, dict):
            raise TypeError(f"the sample {row.key!a} is invalid in its key, path, profile or extra")
        made = row.status == "ok"
        if row.status not in ("ok", "failed") or bool(SHA256.fullmatch(getattr(row, kind.digest))) != made:
            raise TypeError(f"{row.key} is neither made, with a {kind.digest}, nor failed")
    if len({row.key for row in rows}) != len(rows):
        raise TypeError("it has the same key twice")


@dataclass(frozen=True)
class Columns:
    """One whole shard of one variant as columns, the way a record's file stores it: no objects are made for rows.

    `cells` has a list for each field of a row, without the kind's `later` column if no row has a value for it.
    """

    shard: int
    shards: int
    tar_bytes: int
    tar_sha256: str
    recipe: Recipe
    cells: Mapping[str, list[Any]]

    @property
    def name(self) -> str:
        return shard_name(self.shard, self.shards, self.recipe.split)

    @property
    def samples(self) -> int:
        """The number of samples in the tar, which has none for failed rows."""
        return self.cells["status"].count("ok")

    @property
    def failed(self) -> int:
        return len(self.cells["status"]) - self.samples

    @property
    def schema(self) -> pa.Schema:
        """The columns of a table of these rows."""
        kind = self.recipe.kind
        return kind.columns if kind.later in self.cells else kind.first_columns

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.recipe.kind.rows(self.cells)

    @functools.cached_property
    def data(self) -> bytes:
        return canonical_json(
            {
                "shard": self.shard,
                "shards": self.shards,
                "tar": {"name": f"{self.name}.tar", "bytes": self.tar_bytes, "sha256": self.tar_sha256},
                "samples": self.samples,
                "failed": self.failed,
                "recipe": asdict(self.recipe),
                "rows": self.cells,
            }
        )

    @property
    def sha256(self) -> str:
        """sha256 of the record's file."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> Columns:
        """Parse a record. Raises ManifestError, which names it as `source`, if it is damaged."""
        try:
            value = parse_description(data)
            expect(value, _RECORD, "it")
            kind = expect_recipe(value["recipe"])
            if value["recipe"].keys() != RECIPE.keys():
                raise TypeError("its recipe has unexpected fields")
            rows = value["rows"]
            cells = {name: rows[name] for name in kind.fields if name in rows or name != kind.later}
            if any(type(column) is not list or len(column) > MOST_ROWS for column in cells.values()):
                raise TypeError(f"its rows are not lists of at most {MOST_ROWS:,}")
            if len(set(map(len, cells.values()))) > 1:
                raise ValueError("its columns differ in length")
            if all(cell is None for cell in cells.get(kind.later, ("",))):  # an empty column is never written
                raise ValueError("its parts contradict one another")
            record = cls(
                shard=value["shard"],
                shards=value["shards"],
                tar_bytes=value["tar"]["bytes"],
                tar_sha256=value["tar"]["sha256"],
                recipe=Recipe(**value["recipe"]),
                cells=cells,
            )
            if not are_plain(cells, record.schema, kind):
                check_rows(record.rows, kind)
            if record.shard >= record.shards or record.data != data:
                raise ValueError("its parts contradict one another")
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(f"{source} is not a whole record: {error}") from None
        return record

    @classmethod
    def read(cls, place: Place) -> Columns:
        """Read a record. Raises ManifestError if it is damaged, and OSError if it cannot be read."""
        try:
            data = place.read(LARGEST_JSON)
        except ValueError as error:
            raise ManifestError(f"{place.name} is not a whole record: {error}") from None
        return cls.from_bytes(data, place.name)


@dataclass(frozen=True)
class Record:
    """One whole shard of one variant: its tar's size in bytes and sha256, its recipe and its rows."""

    shard: int
    shards: int
    tar_bytes: int
    tar_sha256: str
    recipe: Recipe
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        return shard_name(self.shard, self.shards, self.recipe.split)

    @property
    def sha256(self) -> str:
        return self.by_column.sha256

    @property
    def samples(self) -> int:
        """The number of samples in the tar, which has none for failed rows."""
        return sum(row.status == "ok" for row in self.rows)

    @property
    def by_column(self) -> Columns:
        kind = self.recipe.kind
        cells = {name: [getattr(row, name) for row in self.rows] for name in kind.fields}
        if all(cell is None for cell in cells.get(kind.later, ("",))):
            del cells[kind.later]
        return Columns(self.shard, self.shards, self.tar_bytes, self.tar_sha256, self.recipe, cells)

    def to_bytes(self) -> bytes:
        return self.by_column.data

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> Record:
        """Parse a record. Raises ManifestError, which names it as `source`, if it is damaged."""
        return cls._of(Columns.from_bytes(data, source))

    @classmethod
    def read(cls, place: Place) -> Record:
        """Read a record. Raises ManifestError if it is damaged, and OSError if it cannot be read."""
        return cls._of(Columns.read(place))

    @classmethod
    def _of(cls, found: Columns) -> Record:
        return cls(found.shard, found.shards, found.tar_bytes, found.tar_sha256, found.recipe, found.rows)
