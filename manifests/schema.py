"""The files that describe shards: a record for each shard, and a manifest for each variant.

Owns their names and columns, and the bytes of a *record*: JSON beside its tar, written last, so that its presence means
that the shard is whole. It carries the shard's rows and the full configuration and provenance; the *manifests*
(`manifest.json`, `manifest.parquet`, `_info.json`) are derived from records. Nothing here knows the time, the host or
the number of workers.

What is read may come from anybody. It is a record or a summary only where every field is of its kind, every name that
becomes a file's leads nowhere else, and the parts agree.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa

from manifests.place import Place
from manifests.plain import are_plain
from manifests.shape import expect
from manifests.untrusted import LARGEST_JSON, MOST_ROWS, parse_description

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
# A hundred million samples, a thousand in each: what lists more is held to be no honest list.
MOST_SHARDS = 100_000

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
        pa.field("source_profile", pa.string()),
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
# What records and tables have had from the first; a set made before there were profiles is read as it is.
FIRST_COLUMNS = pa.schema([field for field in COLUMNS if field.name != "source_profile"])


class ManifestError(ValueError):
    """A manifest or record cannot be read as what it should be; the message names the file."""


@dataclass(frozen=True)
class Row:
    """One source sample in one variant; the columns of `manifest.parquet`, and what else its `json` member holds.

    Sizes are in pixels, 0 where they are not known; source sizes are as stored, while scale and crop refer to the image
    as it was decoded (which `opencv_exif` has turned). `error` is empty and `status` is `ok`, or `status` is `failed`
    and the fields that need pixels are empty or 0. Residuals are None where there is no reference to compare with.
    `source_profile` is the description of the embedded ICC profile, empty where there is none, and None in records that
    were made before there was such a column.
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
    source_profile: str | None = None  # last, since older records have none

    def member(self) -> dict[str, Any]:
        """What the sample's `json` member holds: the same keys for every sample, never null.

        It stays as it is, without columns that came later: a tar is the same by whatever version made it.
        """
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


def extension_of(image_format: str) -> str:
    """The extension of a format's images: `png_stored` is PNG to all who read it."""
    return image_format.partition("_")[0]


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

    @property
    def is_probed(self) -> bool:
        """Whether it says what was made of the probe pictures; one of an earlier version has a digest of the code."""
        return "probe_sha256" in self.provenance

    def shared_with(self, other: Recipe) -> Recipe:
        """What of it must agree with the recipe of another variant, or one of another version, beside it.

        Everything but the methods, and what one of the two alone went through or tells.
        """
        provenance = {key: value for key, value in self.provenance.items() if key in other.provenance}
        libraries = {key: of for key, of in provenance["libraries"].items() if key in other.provenance["libraries"]}
        if self.name != other.name:
            provenance.pop("probe_sha256", None)
        if self.is_probed != other.is_probed:
            provenance["cpu"] = {"architecture": provenance["cpu"]["architecture"]}
        return Recipe("", {}, self.config, {**provenance, "libraries": libraries})

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


# What names of samples and their paths never have: they become names of files, and are shown on terminals.
UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
# USTAR holds 100 bytes of name; the longest member is `<key>.json`.
LONGEST_KEY = 100 - len(".json")
# A name that becomes a folder's, or a word of a command.
NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_+-]|\.(?!\.)){0,199}(?<!\.)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COUNT = range(2**63)
_SIZE = (_COUNT, [_COUNT])
_STAGES = {"decode": NAME, "resize": NAME, "color": NAME}
_RECIPE = {
    "name": NAME,
    "variant": _STAGES,
    "config": {
        **{"dataset": NAME, "geometry": NAME, "reference": NAME, "image_format": NAME, "size": _SIZE},
        **{"samples_per_shard": range(1, 2**63), "source": {"kind": NAME, "samples": _COUNT, "sha256": _SHA256}},
    },
    "provenance": (
        {"libraries": {}, "cpu": {"architecture": str}, "probe_sha256": _SHA256},
        {"libraries": {}, "cpu": {"architecture": str}, "code_sha256": _SHA256},  # of earlier versions
    ),
}
_RECORD = {
    **{"shard": _COUNT, "shards": range(1, MOST_SHARDS + 1), "recipe": _RECIPE},
    **{"tar": {"bytes": _COUNT, "sha256": _SHA256}, "rows": {}},
}
_SHARD = {
    **{"name": str, "bytes": _COUNT, "samples": _COUNT, "failed": _COUNT},
    **{"sha256": _SHA256, "record_sha256": _SHA256},
}
_SUMMARY = {
    **{**_RECIPE, "geometry": {"name": NAME, "size": _SIZE}, "config_sha256": _SHA256, "pixels_sha256": _SHA256},
    **{"shards": [_SHARD], "totals": {"samples": _COUNT, "failed": _COUNT, "bytes": _COUNT}},
    "residual": {"compared": _COUNT, "mean_abs": (float, None), "max_abs": (_COUNT, None), "changed": (float, None)},
}


def _expect_recipe(recipe: dict[str, Any], where: str) -> None:
    """Raises TypeError where a recipe, or a summary with its fields, would read or show what it must not."""
    if len(recipe["variant"]) > len(_STAGES):
        raise TypeError(f"{where} has a variant of {len(recipe['variant']):,} stages")
    for name, version in recipe["provenance"]["libraries"].items():
        if not isinstance(version, str) or not f"{name}{version}".isprintable():
            raise TypeError(f"the version of {reprlib.repr(name)} is {reprlib.repr(version)}")


def parse_summary(data: bytes, source: str) -> dict[str, Any]:
    """Parse a `manifest.json`; `source` names it in the ManifestError that damage raises."""
    try:
        found: dict[str, Any] = parse_description(data)
        expect(found, _SUMMARY, "it")
        _expect_recipe(found, "it")
        shards, totals, residual = found["shards"], found["totals"], found["residual"]
        if not 1 <= len(shards) <= MOST_SHARDS:
            raise ValueError(f"it lists {len(shards):,} shards")
        names = [f"{shard_name(index, len(shards))}.tar" for index in range(len(shards))]
        if [shard["name"] for shard in shards] != names:
            raise ValueError("it does not list its shards by their names")
        figures = [residual[name] is not None for name in ("mean_abs", "max_abs", "changed")]
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


# What a column of this type holds, as JSON has it; and what each column does.
_KINDS = {pa.string(): _text, pa.int32(): _whole, pa.float64(): _number}
_CELLS = [(field.name, _KINDS[field.type], field.nullable) for field in COLUMNS]


def is_key(text: str) -> bool:
    """Whether a text can be a sample's key: the name of a file without its folder and extension."""
    return 0 < len(text.encode()) <= LONGEST_KEY and not UNFIT.search(text) and "/" not in text and "." not in text


def _check_rows(rows: Sequence[Row]) -> None:
    """Raises TypeError where a row does not hold what it should."""
    for row in rows:
        for name, fits, nullable in _CELLS:
            value = getattr(row, name)
            if not (nullable if value is None else fits(value)):
                what = f"{name} of {reprlib.repr(row.key)} is {reprlib.repr(value)}"
                raise TypeError(f"{what}, not a {COLUMNS.field(name).type}")
        odd = any(map(UNFIT.search, (row.source_path, row.source_profile or "")))
        if not is_key(row.key) or odd or not isinstance(row.extra, dict):
            raise TypeError(
                f"the sample {row.key!a} is none: its key, its path, its profile or its extra is not of the kind"
            )
        made = row.status == "ok"
        if row.status not in ("ok", "failed") or bool(_SHA256.fullmatch(row.pixel_sha256)) != made:
            raise TypeError(f"{row.key} is neither made, with a pixel_sha256, nor failed")
    if len({row.key for row in rows}) != len(rows):
        raise TypeError("a key is there twice")


_NAMES = [field.name for field in fields(Row)]


@dataclass(frozen=True)
class Columns:
    """One whole shard of one variant by its columns, as a record's file holds it: nothing is made for a single row.

    `cells` has a list for each field of a row, without `source_profile` where no row has one.
    """

    shard: int
    shards: int
    tar_bytes: int
    tar_sha256: str
    recipe: Recipe
    cells: Mapping[str, list[Any]]

    @property
    def name(self) -> str:
        return shard_name(self.shard, self.shards)

    @property
    def samples(self) -> int:
        """The number of samples in the tar: failed rows have none."""
        return self.cells["status"].count("ok")

    @property
    def failed(self) -> int:
        return len(self.cells["status"]) - self.samples

    @property
    def schema(self) -> pa.Schema:
        """The columns of a table of its rows."""
        return COLUMNS if "source_profile" in self.cells else FIRST_COLUMNS

    @property
    def rows(self) -> tuple[Row, ...]:
        columns = [self.cells[name] for name in _NAMES if name in self.cells]
        return tuple(Row(*cells) for cells in zip(*columns, strict=True))

    @functools.cached_property
    def data(self) -> bytes:
        """The bytes of the record's file."""
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
        """The digest of the record's file."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> Columns:
        """Parse a record; `source` names it in the ManifestError that damage raises."""
        try:
            value = parse_description(data)
            expect(value, _RECORD, "it")
            _expect_recipe(value["recipe"], "it")
            if value["recipe"].keys() != _RECIPE.keys():
                raise TypeError("its recipe has other parts")
            rows = value["rows"]
            cells = {name: rows[name] for name in _NAMES if name in rows or name != "source_profile"}
            if any(type(column) is not list or len(column) > MOST_ROWS for column in cells.values()):
                raise TypeError(f"its rows are no lists of at most {MOST_ROWS:,}")
            if len(set(map(len, cells.values()))) > 1:
                raise ValueError("its columns are not of one length")
            if all(cell is None for cell in cells.get("source_profile", ("",))):  # which is not written at all
                raise ValueError("its parts contradict one another")
            record = cls(
                shard=value["shard"],
                shards=value["shards"],
                tar_bytes=value["tar"]["bytes"],
                tar_sha256=value["tar"]["sha256"],
                recipe=Recipe(**value["recipe"]),
                cells=cells,
            )
            if not are_plain(cells, record.schema, LONGEST_KEY):
                _check_rows(record.rows)
            if record.shard >= record.shards or record.data != data:
                raise ValueError("its parts contradict one another")
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(f"{source} is not a whole record: {error}") from None
        return record

    @classmethod
    def read(cls, place: Place) -> Columns:
        """Read a record. Raises ManifestError where it is damaged, and OSError where it cannot be read."""
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
        return shard_name(self.shard, self.shards)

    @property
    def sha256(self) -> str:
        return self.by_column.sha256

    @property
    def samples(self) -> int:
        """The number of samples in the tar: failed rows have none."""
        return sum(row.status == "ok" for row in self.rows)

    @property
    def by_column(self) -> Columns:
        profiled = any(row.source_profile is not None for row in self.rows)
        names = _NAMES if profiled else [name for name in _NAMES if name != "source_profile"]
        cells = {name: [getattr(row, name) for row in self.rows] for name in names}
        return Columns(self.shard, self.shards, self.tar_bytes, self.tar_sha256, self.recipe, cells)

    def to_bytes(self) -> bytes:
        return self.by_column.data

    @classmethod
    def from_bytes(cls, data: bytes, source: str) -> Record:
        """Parse a record; `source` names it in the ManifestError that damage raises."""
        return cls._of(Columns.from_bytes(data, source))

    @classmethod
    def read(cls, place: Place) -> Record:
        """Read a record. Raises ManifestError where it is damaged, and OSError where it cannot be read."""
        return cls._of(Columns.read(place))

    @classmethod
    def _of(cls, found: Columns) -> Record:
        return cls(found.shard, found.shards, found.tar_bytes, found.tar_sha256, found.recipe, found.rows)
