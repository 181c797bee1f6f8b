"""The files that describe shards: a record for each shard, and a manifest for each variant.

Owns their names and columns, and the bytes of a *record*: JSON beside its tar, written last, so that its presence means
that the shard is whole. It carries the shard's rows and the full configuration and provenance; the *manifests*
(`manifest.json`, `manifest.parquet`, `_info.json`) are derived from records. Nothing here knows the time, the host or
the number of workers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa

SPLIT = "validation"
# Datasets whose samples have a class label each, in a `cls` member.
CLASSIFIED = frozenset({"sample", "imagenet"})
# The member that holds a segmentation label map, and the key of its hash in the `json` member.
LABEL_MAP, LABEL_MAP_SHA256 = "seg.png", "seg_sha256"
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
    """One source sample in one variant; the columns of `manifest.parquet`, and what else its `json` member holds.

    Sizes are in pixels, 0 where they are not known; source sizes are as stored, while scale and crop refer to the image
    as it was decoded (which `opencv_exif` has turned). `error` is empty and `status` is `ok`, or `status` is `failed`
    and the fields that need pixels are empty or 0. Residuals are None where there is no reference to compare with.
    """

    key: str
    shard: int
    label: int
    source_path: str
    source_sha256: str
    source_width: int
    source_height: int
    source_orientation: int
    extra: dict[str, Any]
    status: str = "ok"
    error: str = ""
    width: int = 0
    height: int = 0
    pixel_sha256: str = ""
    residual_mean_abs: float | None = None
    residual_max_abs: int | None = None
    residual_changed: float | None = None
    crop_x: int = 0
    crop_y: int = 0
    scale_x: float = 0.0
    scale_y: float = 0.0

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
            **self.extra,
        }

    def texts(self, dataset: str) -> dict[str, bytes]:
        """The text members of the sample by extension, in the order in which they follow the image."""
        label = {"cls": str(self.label).encode()} if dataset in CLASSIFIED else {}
        return {**label, "json": canonical_json(self.member()).rstrip(b"\n")}


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
        held += [(self.recipe.config.get(name), str) for name in ("dataset", "geometry", "image_format")]
        held += [(self.recipe.provenance.get("libraries"), dict), (self.recipe.config.get("samples_per_shard"), int)]
        for value, kind in held:
            if type(value) is not kind:
                raise TypeError(f"{value!r} is no {kind.__name__}")
        for row in self.rows:
            if not isinstance(row.extra, dict):
                raise TypeError(f"extra of {row.key} is {row.extra!r}, not a dict")
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
