"""The files that describe shards: a record for each shard, and a manifest for each variant.

Owns their names, columns and bytes. A *record* (JSON beside its tar) is written last, so its presence means that the
shard is whole; it carries the shard's rows and the full configuration and provenance. A *manifest* (`manifest.json`,
`manifest.parquet`, `_info.json`) is derived from a variant's records and from nothing else, so it can be derived again
and compared. Nothing here knows the time, the host or the number of workers.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SPLIT = "validation"
TABLE = "manifest.parquet"
SUMMARY = "manifest.json"
TIMM = "_info.json"
CARD = "README.md"
# How the card, which is written elsewhere, lists a variant; a JSON string follows.
CARD_ENTRY = "- config_name: "

COLUMNS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("source_path", pa.string(), nullable=False),
        pa.field("source_sha256", pa.string(), nullable=False),
        pa.field("source_width", pa.int32(), nullable=False),
        pa.field("source_height", pa.int32(), nullable=False),
        pa.field("source_orientation", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("pixel_sha256", pa.string(), nullable=False),
        pa.field("residual_mean_abs", pa.float64()),
        pa.field("residual_max_abs", pa.int32()),
        pa.field("residual_changed", pa.float64()),
        pa.field("crop_x", pa.int32(), nullable=False),
        pa.field("crop_y", pa.int32(), nullable=False),
        pa.field("scale_x", pa.float64(), nullable=False),
        pa.field("scale_y", pa.float64(), nullable=False),
    ]
)


class ManifestError(ValueError):
    """A manifest or record cannot be read as what it should be; the message names the file."""


@dataclass(frozen=True)
class Row:
    """One source sample in one variant; the columns of `manifest.parquet`.

    Sizes are in pixels, 0 where they are not known. `error` is empty and `status` is `ok`, or `status` is `failed` and
    the fields that need pixels are empty or 0. Residuals are None where there is no reference to compare with.
    """

    key: str
    shard: int
    status: str
    error: str
    label: int
    source_path: str
    source_sha256: str
    source_width: int
    source_height: int
    source_orientation: int
    width: int
    height: int
    pixel_sha256: str
    residual_mean_abs: float | None
    residual_max_abs: int | None
    residual_changed: float | None
    crop_x: int
    crop_y: int
    scale_x: float
    scale_y: float

    def member(self) -> dict[str, Any]:
        """What the sample's `json` member holds: the same keys for every sample, never null."""
        return {
            "source_width": self.source_width,
            "source_height": self.source_height,
            "source_orientation": self.source_orientation,
            "width": self.width,
            "height": self.height,
            "crop_x": self.crop_x,
            "crop_y": self.crop_y,
            "scale_x": self.scale_x,
            "scale_y": self.scale_y,
            "source_sha256": self.source_sha256,
            "pixel_sha256": self.pixel_sha256,
        }


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and a trailing newline: equal values give equal bytes."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def readable_json(value: Any) -> bytes:
    """As `canonical_json`, indented for people."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2).encode() + b"\n"


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def shard_name(index: int, count: int) -> str:
    """A shard's file name without its suffix: `validation-00000-of-00050`."""
    return f"{SPLIT}-{index:05d}-of-{count:05d}"


@dataclass(frozen=True)
class Recipe:
    """What decides a variant's bytes: configuration, provenance and the three methods, all as plain JSON values."""

    name: str
    variant: dict[str, str]
    config: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def sha256(self) -> str:
        return digest(asdict(self))

    def differences(self, other: Recipe) -> list[str]:
        """Where two recipes differ, as `config.size: 224 → 160`; empty when they are the same."""
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


def _is(value: Any, field: pa.Field) -> bool:
    """Whether a JSON value is what a column holds."""
    if value is None:
        return bool(field.nullable)
    if field.type == pa.string():
        return isinstance(value, str)
    if field.type == pa.int32():
        return type(value) is int and -(2**31) <= value < 2**31
    return type(value) in (int, float)


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
        return shard_name(self.shard, self.shards)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def samples(self) -> int:
        """The number of samples in the tar: failed rows have none."""
        return sum(row.status == "ok" for row in self.rows)

    def to_bytes(self) -> bytes:
        columns = {field.name: [getattr(row, field.name) for row in self.rows] for field in fields(Row)}
        return canonical_json(
            {
                "shard": self.shard,
                "shards": self.shards,
                "tar": {"name": f"{self.name}.tar", "bytes": self.tar_bytes, "sha256": self.tar_sha256},
                "samples": self.samples,
                "failed": len(self.rows) - self.samples,
                "recipe": asdict(self.recipe),
                "rows": columns,
            }
        )

    def check(self) -> None:
        """Raises TypeError where a field does not hold what it should."""
        held = [(self.shard, int), (self.shards, int), (self.tar_bytes, int), (self.tar_sha256, str)]
        held += [(self.recipe.name, str), (self.recipe.variant, dict), (self.recipe.provenance, dict)]
        held += [(self.recipe.config, dict), (self.recipe.config.get("source"), dict)]
        for value, kind in held:
            if type(value) is not kind:
                raise TypeError(f"{value!r} is no {kind.__name__}")
        for row in self.rows:
            for field in COLUMNS:
                value = getattr(row, field.name)
                if not _is(value, field):
                    raise TypeError(f"{field.name} of {row.key} is {value!r}, not a {field.type}")

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> Record:
        """Parse a record; `source` names it in the ManifestError that damage raises."""
        try:
            value = json.loads(data)
            columns = [value["rows"][field.name] for field in fields(Row)]
            record = cls(
                shard=value["shard"],
                shards=value["shards"],
                tar_bytes=value["tar"]["bytes"],
                tar_sha256=value["tar"]["sha256"],
                recipe=Recipe(**value["recipe"]),
                rows=tuple(Row(*cells) for cells in zip(*columns, strict=True)),
            )
            record.check()
            if record.to_bytes() != data:
                raise ValueError("its parts contradict one another")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestError(f"{source} is not a whole record: {error}") from None
        return record


def read_records(folder: Path) -> Iterator[Record]:
    """The records of a variant's folder in shard order, one at a time. Raises ManifestError for a damaged one."""
    for path in sorted(folder.glob(f"{SPLIT}-*.json")):
        yield Record.from_bytes(path.read_bytes(), str(path))


@dataclass(frozen=True)
class Manifest:
    """The three files that describe a whole variant, as bytes, and the summary as a value."""

    summary: dict[str, Any]
    table: bytes

    @property
    def files(self) -> dict[str, bytes]:
        return {TABLE: self.table, SUMMARY: readable_json(self.summary), TIMM: readable_json(self.timm)}

    @property
    def timm(self) -> dict[str, Any]:
        """timm's description of the split (`timm.data.readers.reader_wds`): counts of the samples that are there."""
        shards = self.summary["shards"]
        return {
            "splits": {
                SPLIT: {
                    "name": SPLIT,
                    "num_samples": self.summary["totals"]["samples"],
                    "filenames": [shard["name"] for shard in shards],
                    "shard_lengths": [shard["samples"] for shard in shards],
                }
            }
        }


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table with the manifest's columns."""
    arrays = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Row)}
    return pa.table(arrays, schema=COLUMNS)


def derive(records: Iterable[Record]) -> Manifest:
    """The manifest of a variant from all of its records, read one at a time in shard order."""
    recipe: Recipe | None = None
    shards: list[dict[str, Any]] = []
    totals = {"samples": 0, "failed": 0, "bytes": 0}
    residuals = _Residuals()
    pixels = hashlib.sha256()
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, COLUMNS, compression="zstd") as writer:
        for record in records:
            recipe = record.recipe
            failed = len(record.rows) - record.samples
            shards.append(
                {
                    "name": f"{record.name}.tar",
                    "bytes": record.tar_bytes,
                    "sha256": record.tar_sha256,
                    "record_sha256": record.sha256,
                    "samples": record.samples,
                    "failed": failed,
                }
            )
            totals["samples"] += record.samples
            totals["failed"] += failed
            totals["bytes"] += record.tar_bytes
            for row in record.rows:
                pixels.update(f"{row.key} {row.pixel_sha256}\n".encode())
                residuals.add(row)
            writer.write_table(table_of(record.rows), row_group_size=max(1, len(record.rows)))
    if recipe is None:
        raise ManifestError("there is no record to derive a manifest from")
    summary = {
        "name": recipe.name,
        "variant": recipe.variant,
        "geometry": {"name": recipe.config.get("geometry"), "size": recipe.config.get("size")},
        "config": recipe.config,
        "config_sha256": digest(recipe.config),
        "provenance": recipe.provenance,
        "shards": shards,
        "totals": totals,
        "residual": residuals.summary(),
        # Variants with the same digest have the same pixels on every sample: they are degenerate.
        "pixels_sha256": pixels.hexdigest(),
    }
    return Manifest(summary, buffer.getvalue())


class _Residuals:
    """Running means and maxima over the rows that could be compared with the reference."""

    def __init__(self) -> None:
        self.compared = 0
        self.same = 0
        self.max = 0
        self.mean: list[float] = []
        self.changed: list[float] = []

    def add(self, row: Row) -> None:
        if row.residual_mean_abs is None or row.residual_max_abs is None or row.residual_changed is None:
            return
        self.compared += 1
        self.same += row.residual_max_abs == 0
        self.max = max(self.max, row.residual_max_abs)
        self.mean.append(row.residual_mean_abs)
        self.changed.append(row.residual_changed)

    def summary(self) -> Mapping[str, Any]:
        count = self.compared
        return {
            "compared": count,
            "mean_abs": math.fsum(self.mean) / count if count else None,
            "max_abs": self.max if count else None,
            "changed": math.fsum(self.changed) / count if count else None,
            # True where every sample has the reference's pixels.
            "degenerate": self.same == count if count else None,
        }
