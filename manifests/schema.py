"""The files that describe shards: a record for each shard, and a manifest for each variant.

Owns their names and columns, and the bytes of a *record*: JSON next to its tar, written last, so that its presence
means that the shard is whole. It carries the shard's rows and the full configuration and provenance. The *manifests*
(`manifest.json`, `manifest.parquet`, `_info.json`) are derived from records. Nothing here depends on the time, the host
or the number of workers.

Files may come from anyone. One is accepted as a record or summary only if every field has its type, every name that
becomes a file name stays inside the folder, and the parts agree with one another.
"""

from __future__ import annotations

import functools
import hashlib
import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from manifests.canonical import canonical_json, digest
from manifests.kinds import kind_of
from manifests.place import Place
from manifests.plain import are_plain
from manifests.row import UNFIT, Kind, Row, is_key
from manifests.shape import COUNT, NAME, SHA256, expect
from manifests.splits import SPLITS, VALIDATION, shard_name, split_of
from manifests.untrusted import LARGEST_JSON, MOST_ROWS, parse_description

TABLE = "manifest.parquet"
SUMMARY = "manifest.json"
TIMM = "_info.json"
CARD = "README.md"
# How the card, which is written elsewhere, lists a variant: a JSON string follows.
CARD_ENTRY = "- config_name: "
# A hundred million samples at a thousand a shard: a longer list is not taken to be honest.
MOST_SHARDS = 100_000


class ManifestError(ValueError):
    """A manifest or record cannot be read as one; the message names the file."""


@dataclass(frozen=True)
class Recipe:
    """What decides a variant's bytes: its methods, configuration and provenance, all as plain JSON values."""

    name: str
    variant: dict[str, str]
    config: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def sha256(self) -> str:
        return digest(asdict(self))

    @property
    def kind(self) -> Kind:
        """The kind of result that its samples are made into."""
        return kind_of(str(self.config["dataset"]))

    @property
    def split(self) -> str:
        return split_of(self.config)

    @property
    def is_probed(self) -> bool:
        """Whether it has a digest of the probe pictures; recipes of earlier versions have one of the code instead."""
        return "probe_sha256" in self.provenance

    def shared_with(self, other: Recipe) -> Recipe:
        """The part that must agree with the recipe of another variant, or of another version, in the same folder.

        That is everything except the methods, and what only one of the two used or records.
        """
        provenance = {key: value for key, value in self.provenance.items() if key in other.provenance}
        libraries = {key: of for key, of in provenance["libraries"].items() if key in other.provenance["libraries"]}
        if self.name != other.name:
            provenance.pop("probe_sha256", None)
        if self.is_probed != other.is_probed:
            provenance["cpu"] = {"architecture": provenance["cpu"]["architecture"]}
        return Recipe("", {}, self.config, {**provenance, "libraries": libraries})

    def differences(self, other: Recipe) -> list[str]:
        """Where two recipes differ, as `config.size: 224 → 160`; empty if they are equal."""
        return [
            f"{path}: {json.dumps(mine)} → {json.dumps(theirs)}"
            for path, mine, theirs in differences("", asdict(self), asdict(other))
        ]


def differences(path: str, mine: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    """The places below `path` where two JSON values differ, with both values."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in sorted({*mine, *theirs}):
            yield from differences(f"{path}.{key}" if path else key, mine.get(key), theirs.get(key))
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        for index, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            yield from differences(f"{path}[{index}]", one, other)
    elif mine != theirs:
        yield path, mine, theirs


_SHAPE = {
    "name": NAME,
    "variant": {},
    "config": {
        **{"dataset": NAME, "reference": NAME, "samples_per_shard": range(1, 2**63)},
        "source": {"kind": NAME, "samples": COUNT, "sha256": SHA256},
    },
    "provenance": (
        {"libraries": {}, "cpu": {"architecture": str}, "probe_sha256": SHA256},
        {"libraries": {}, "cpu": {"architecture": str}, "code_sha256": SHA256},  # of earlier versions
    ),
}
_RECORD = {
    **{"shard": COUNT, "shards": range(1, MOST_SHARDS + 1), "recipe": _SHAPE},
    **{"tar": {"bytes": COUNT, "sha256": SHA256}, "rows": {}},
}
_SHARD = {
    **{"name": str, "bytes": COUNT, "samples": COUNT, "failed": COUNT},
    **{"sha256": SHA256, "record_sha256": SHA256},
}
_SUMMARY = {
    **{**_SHAPE, "config_sha256": SHA256},
    **{"shards": [_SHARD], "totals": {"samples": COUNT, "failed": COUNT, "bytes": COUNT}, "residual": {}},
}


def _expect_recipe(recipe: dict[str, Any], where: str) -> Kind:
    """The kind of a recipe, or of a summary, which has a recipe's fields.

    Raises TypeError for values that must not be read or shown.
    """
    kind = kind_of(recipe["config"]["dataset"])
    expect(recipe["variant"], dict.fromkeys(kind.stages, NAME), "variant")
    expect(recipe["config"], kind.config, "config")
    if recipe["config"].get("split", VALIDATION) not in SPLITS:
        raise TypeError(f"config.split is {reprlib.repr(recipe['config']['split'])}, not one of {', '.join(SPLITS)}")
    if len(recipe["variant"]) > len(kind.stages):
        raise TypeError(f"{where} has a variant of {len(recipe['variant']):,} stages")
    for name, version in recipe["provenance"]["libraries"].items():
        if not isinstance(version, str) or not f"{name}{version}".isprintable():
            raise TypeError(f"the version of {reprlib.repr(name)} is {reprlib.repr(version)}")
    return kind


def parse_summary(data: bytes, source: str) -> dict[str, Any]:
    """Parse a `manifest.json`. Raises ManifestError, which names it as `source`, if it is damaged."""
    try:
        found: dict[str, Any] = parse_description(data)
        expect(found, _SUMMARY, "it")
        kind = _expect_recipe(found, "it")
        expect(found, {**kind.about_shape, kind.digest_of_all: SHA256, "residual": kind.summary}, "it")
        shards, totals, residual = found["shards"], found["totals"], found["residual"]
        if not 1 <= len(shards) <= MOST_SHARDS:
            raise ValueError(f"it lists {len(shards):,} shards")
        split = split_of(found["config"])
        names = [f"{shard_name(index, len(shards), split)}.tar" for index in range(len(shards))]
        if [shard["name"] for shard in shards] != names:
            raise ValueError("its shards are not listed by their names")
        figures = [residual[name] is not None for name in kind.summary if name != "compared"]
        agree = all(figures) if residual["compared"] else not any(figures)
        agree &= all(sum(shard[name] for shard in shards) == total for name, total in totals.items())
        if not agree or digest(found["config"]) != found["config_sha256"]:
            raise ValueError("its parts contradict one another")
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{source} is not a whole manifest: {error}") from None
    return found


def _whole(value: Any) -> bool:
    return type(value) is int and -(2**31) <= value < 2**31


def _number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


def _text(value: Any) -> bool:
    return isinstance(value, str)


# Whether a JSON value fits a column of this type.
_KINDS = {pa.string(): _text, pa.int32(): _whole, pa.float64(): _number}


def _check_rows(rows: Sequence[Row], kind: Kind) -> None:
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
            kind = _expect_recipe(value["recipe"], "it")
            if value["recipe"].keys() != _SHAPE.keys():
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
                _check_rows(record.rows, kind)
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
