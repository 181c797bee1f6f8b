"""The set's `croissant.json`: MLCommons' Croissant 1.0, which dataset search and loaders read.

Derived from the manifests of the finished variants, and from nothing else: it has no time and no host, but for the
address and the date of a set that is published. A variant is a record set, named as its folder: a record for each
sample, with the image or the spectrogram from its tars joined to its row of `manifest.parquet`. A set without tars, or
with more than a loader can list, has the rows only.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import pyarrow as pa

from manifests.canonical import canonical_json, digest
from manifests.images import CLASSIFIED, LABEL_MAP
from manifests.kinds import kind_of
from manifests.mels import MEL
from manifests.schema import SUMMARY, TABLE, parse_summary
from manifests.splits import split_of
from manifests.untrusted import LARGEST_JSON
from pipelines.generate.card import CITATION, TERMS
from pipelines.generate.told import told
from pipelines.store import BLOCK, Place

CROISSANT = "croissant.json"
# Tars of all variants together: mlcroissant takes half a minute to read a file that lists so many, and four times as
# long for twice as many.
MOST_TARS = 2000
# Where the terms of the originals are, if they are in one place.
_TERMS = {
    "imagenet": "https://image-net.org/download.php",
    "coco": "https://cocodataset.org/#termsofuse",
    "cityscapes": "https://www.cityscapes-dataset.com/license/",
}
# The specification's own context: validators warn about any other.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {
    term: f"cr:{term}"
    for term in (
        *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
        *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
        *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
        "transform",
    )
}


class _Member(NamedTuple):
    """How a member of the tars is described: the field's name, its MIME type, its data type and what it is.

    `pattern` names these members, and no others, in an unpacked tar.
    """

    field: str
    encoding: str
    type: str
    about: str
    pattern: str


# It has no MIME type: the specification asks for the address of the format instead. Loaders give the bytes.
_NPY = "https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"
_IMAGE = "The image as this variant renders it, losslessly"
_MEMBERS = {
    "png": _Member("image", "image/png", "sc:ImageObject", f"{_IMAGE}.", "*.png"),
    "webp": _Member("image", "image/webp", "sc:ImageObject", f"{_IMAGE}.", "*.webp"),
    "npy": _Member("image", _NPY, "sc:Text", f"{_IMAGE}: the bytes of a .npy file, uint8, HWC, RGB.", "*.npy"),
    MEL: _Member(
        "mel",
        _NPY,
        "sc:Text",
        "The log-mel spectrogram: the bytes of a .npy file, float32, (bands, frames), natural logarithm.",
        f"*.{MEL}",
    ),
    LABEL_MAP: _Member(
        "label_map", "image/png", "sc:ImageObject", "The train id of each pixel; 255 is ignored.", f"*.{LABEL_MAP}"
    ),
    "json": _Member("json", "application/json", "sc:Text", "Sizes, crop, scale, hashes and the image's id.", "*.json"),
}
# All keys of Cityscapes end so; "*.png" would name its label maps too.
_PATTERNS = {"cityscapes": "*_leftImg8bit.png"}
# The members that have what neither the main member nor the table has. Loaders join no three files, so that each of
# these is a record set.
_FURTHER = {"coco": ("json",), "cityscapes": (LABEL_MAP,)}
# What rows say of the table itself, or of failed samples, which the tars have not.
_OF_ROWS = frozenset({"shard", "status", "error"})
_COLUMNS = {
    "key": "The sample's name, the same in all variants.",
    "shard": "The number of its tar.",
    "status": "ok, or failed.",
    "error": "Why it failed; empty if it did not.",
    "label": "ImageNet's class, 0 to 999; -1 if it is unknown.",
    "text": "What is said.",
    "source_path": "The path of the source file in its set.",
    "source_sha256": "The sha256 of the source file.",
    "source_width": "The source's width in pixels, as stored.",
    "source_height": "The source's height in pixels, as stored.",
    "source_orientation": "The source's EXIF orientation; 1 if it has none.",
    "source_rate": "The source's sampling rate in Hz.",
    "source_channels": "The source's number of channels.",
    "source_samples": "The source's number of samples in each channel.",
    "width": "The width in pixels.",
    "height": "The height in pixels.",
    "bands": "The number of mel bands.",
    "frames": "The number of frames.",
    "pixel_sha256": "The sha256 of the RGB values, uint8, HWC.",
    "mel_sha256": "The sha256 of the values, float32, row by row.",
    "residual_mean_abs": "The mean absolute difference from the reference, in steps of 0 to 255.",
    "residual_max_abs": "The largest absolute difference from the reference.",
    "residual_changed": "The share of values that differ from the reference's.",
    "residual_mse": "The mean square difference from the reference, of natural logarithms.",
    "residual_frames": "How many frames more it has than the reference's.",
    "crop_x": "Columns cut off at the left: x = source x · scale_x - crop_x.",
    "crop_y": "Rows cut off at the top: y = source y · scale_y - crop_y.",
    "scale_x": "Columns for each of the source's.",
    "scale_y": "Rows for each of the source's.",
}
_TYPES = {pa.string(): "sc:Text", pa.int32(): "sc:Integer", pa.float64(): "sc:Float"}

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """What the file takes of a variant: its summary without `shards`, and the sizes and sha256 of its files.

    `tars` are the summary's shards, or None if there are too many to list; `table` is the size in bytes and the sha256
    of `manifest.parquet`.
    """

    summary: Values
    tars: Sequence[Values] | None
    table: tuple[int, str]

    @classmethod
    def of(cls, summary: Values, table: tuple[int, str]) -> Part:
        tars = summary["shards"]
        rest = {name: value for name, value in summary.items() if name != "shards"}
        return cls(rest, tars if len(tars) <= MOST_TARS else None, table)

    @property
    def name(self) -> str:
        return str(self.summary["name"])


@dataclass(frozen=True)
class Published:
    """Where a set is published: its page, the address that its files' paths follow, and the day (`2026-11-26`)."""

    url: str
    files: str
    date: str | None


def parts_in(root: Place) -> Iterator[Part]:
    """The finished variants under `root`, one at a time. One that is damaged is left to verify.py, which names it."""
    for name in root.folders():
        with contextlib.suppress(ValueError, FileNotFoundError):
            summary = parse_summary((root / name / SUMMARY).read(LARGEST_JSON), name)
            yield Part.of(summary, _size_and_sha256(root / name / TABLE))


def _size_and_sha256(place: Place) -> tuple[int, str]:
    size, sha256 = 0, hashlib.sha256()
    with place.open() as file:
        while data := file.read(BLOCK):
            size += len(data)
            sha256.update(data)
    return size, sha256.hexdigest()


def croissant(parts: Iterable[Part], published: Published | None = None, *, pixels: bool = True) -> bytes:
    """The file for these variants, of one dataset and at least one; without `pixels`, for their manifests."""
    parts = list(parts)
    config = parts[0].summary["config"]
    dataset = str(config["dataset"])
    tars = sum(MOST_TARS + 1 if part.tars is None else len(part.tars) for part in parts)
    layout = _Layout(dataset, published, pixels, lists_tars=pixels and tars <= MOST_TARS)
    kind = kind_of(dataset)
    results = [[part.name, part.summary["config_sha256"], part.summary[kind.digest_of_all]] for part in parts]
    found: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"sysnoise-{dataset}",
        "description": f"{told(dataset).made_of(dataset, split_of(config))}: a record set for each variant. Compare "
        "a model's scores on them to learn what a mismatch between training and deployment costs.",
        "license": _licence(dataset),
        "citeAs": CITATION,
        "keywords": ["sysnoise", "robustness", "webdataset"],
        # The same for the same results.
        "version": f"1.0.0+{digest(results)[:12]}",
        "distribution": [file for part in parts for file in layout.distribution(part)],
        "recordSet": [records for part in parts for records in layout.record_sets(part)],
    }
    if published:
        found["url"] = published.url
    if published and published.date:
        found["datePublished"] = published.date
    return canonical_json(found)


def _licence(dataset: str) -> Values:
    terms = {"@type": "sc:CreativeWork", "name": f"{dataset}-terms", "description": TERMS[dataset]}
    return {**terms, "url": _TERMS[dataset]} if dataset in _TERMS else terms


@dataclass(frozen=True)
class _Layout:
    """How the variants of a set are described: all in the same way."""

    dataset: str
    published: Published | None
    pixels: bool
    lists_tars: bool

    def distribution(self, part: Part) -> Iterator[Values]:
        """A variant's files."""
        yield self._file(f"{part.name}/{TABLE}", "application/x-parquet", *part.table)
        if not self.lists_tars:
            if self.pixels:
                yield _file_set(f"{part.name}/tars", "application/x-tar", f"{part.name}/{_split(part)}-*.tar")
            return
        tars = {f"{part.name}/{tar['name']}": tar for tar in part.tars or ()}
        for path, tar in tars.items():
            yield self._file(path, "application/x-tar", tar["bytes"], tar["sha256"])
        for member in self._members(part):
            files = _file_set(f"{part.name}/{member.field}s", member.encoding, member.pattern)
            yield {**files, "containedIn": [{"@id": path} for path in tars]}

    def record_sets(self, part: Part) -> Iterator[Values]:
        """A variant's records, and those of the members that they lack."""
        about = ", ".join(f"{stage}: {method}" for stage, method in part.summary["variant"].items())
        if not self.lists_tars:
            yield _record_set(part.name, f"Rows of {part.name} ({about}).", [*self._columns(part, frozenset())])
            return
        main, *further = self._members(part)
        fields = [*_member(part, main, part.name, joined=True), *self._columns(part, _OF_ROWS | {"key"})]
        yield _record_set(part.name, f"Samples of {part.name} ({about}).", fields)
        for member in further:
            name = f"{part.name}/{member.field}"
            yield _record_set(name, f"{member.field} of {part.name}.", [*_member(part, member, name, joined=False)])

    def _members(self, part: Part) -> list[_Member]:
        """The members that are described: what the sample is, and what else has what the table has not."""
        main, *_ = told(self.dataset).members(part.summary["config"])
        first = _MEMBERS[main]._replace(pattern=_PATTERNS.get(self.dataset, _MEMBERS[main].pattern))
        return [first, *(_MEMBERS[name] for name in _FURTHER.get(self.dataset, ()))]

    def _columns(self, part: Part, without: frozenset[str]) -> Iterator[Values]:
        """The fields that the table has."""
        without |= frozenset() if self.dataset in CLASSIFIED else {"label"}
        for column in kind_of(self.dataset).first_columns:
            if column.name not in without:
                source = _column_of(part, column.name)
                yield _field(part.name, column.name, _TYPES[column.type], _COLUMNS[column.name], source)

    def _file(self, path: str, encoding: str, size: int, sha256: str) -> Values:
        return {
            "@type": "cr:FileObject",
            "@id": path,
            "name": path.rpartition("/")[2],
            "contentUrl": self.published.files + quote(path) if self.published else path,
            "contentSize": f"{size} B",
            "encodingFormat": encoding,
            "sha256": sha256,
        }


def _split(part: Part) -> str:
    return split_of(part.summary["config"])


def _file_set(name: str, encoding: str, pattern: str) -> Values:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": encoding, "includes": pattern}


def _record_set(name: str, about: str, fields: Sequence[Values]) -> Values:
    key = {"@id": f"{name}/key"}
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": about, "key": key, "field": fields}


def _member(part: Part, member: _Member, records: str, *, joined: bool) -> Iterator[Values]:
    """The fields of a member: the key that its file is named by, `joined` to the table or not, and what it holds."""
    files = {"fileSet": {"@id": f"{part.name}/{member.field}s"}}
    # A key has no dot. The table's keys match too: loaders apply this to both sides.
    by_name = {**files, "extract": {"fileProperty": "filename"}, "transform": {"regex": r"^([^.]+)"}}
    key = _field(records, "key", "sc:Text", _COLUMNS["key"], by_name)
    yield {**key, "references": _column_of(part, "key")} if joined else key
    content = {**files, "extract": {"fileProperty": "content"}}
    yield _field(records, member.field, member.type, member.about, content)


def _column_of(part: Part, name: str) -> Values:
    return {"fileObject": {"@id": f"{part.name}/{TABLE}"}, "extract": {"column": name}}


def _field(records: str, name: str, type_: str, about: str, source: Values) -> Values:
    field = {"@type": "cr:Field", "@id": f"{records}/{name}", "name": name, "description": about}
    return {**field, "dataType": type_, "source": source}
