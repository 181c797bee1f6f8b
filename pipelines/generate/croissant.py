"""The set's `croissant.json`, in MLCommons' Croissant 1.0 format, for dataset search and loaders.

Derived from the manifests of the finished variants and nothing else: the same set gives the same bytes, with no time or
host in them, except the address and date of a published set. Each variant is a record set named after its folder, with
a record for each sample: the image or spectrogram from its tars, joined with its row of `manifest.parquet`. A set
without tars, or with more tars than loaders can handle, has only the rows.
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
from manifests.splits import VALIDATION, split_of
from manifests.untrusted import LARGEST_JSON
from pipelines.generate.card import CITATION, TERMS
from pipelines.generate.glossary import COLUMNS
from pipelines.generate.wording import wording
from pipelines.store import BLOCK, Place

CROISSANT = "croissant.json"
# Tars of all variants together. mlcroissant takes half a minute to open a file that lists this many, and its time grows
# with the square of the number.
MOST_TARS = 2000
# The page with a dataset's terms, if there is one.
_TERMS = {
    "imagenet": "https://image-net.org/download.php",
    "coco": "https://cocodataset.org/#termsofuse",
    "cityscapes": "https://www.cityscapes-dataset.com/license/",
}
# The context of the specification; validators warn about any other.
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
    """How a member of the tars is described: its field's name, MIME type, data type and description.

    `pattern` matches these members, and no others, in an unpacked tar.
    """

    field: str
    encoding: str
    type: str
    about: str
    pattern: str


# NumPy's format has no MIME type, so the specification asks for a page that describes it. Loaders return the bytes.
_NPY = "https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"
_MEMBERS = {
    "npy": _Member("image", _NPY, "sc:Text", "The image: the bytes of a .npy file, uint8, HWC, RGB.", "*.npy"),
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
# All of Cityscapes' keys end like this; "*.png" would match its label maps too.
_PATTERNS = {"cityscapes": "*_leftImg8bit.png"}
# Members with content that is neither in the main member nor in the table. mlcroissant cannot join three files, so each
# of these gets a record set of its own.
_FURTHER = {"coco": ("json",), "cityscapes": (LABEL_MAP,)}
# Columns about the table itself, or about failed samples, which are not in the tars.
_OF_ROWS = frozenset({"shard", "status", "error"})
_TYPES = {pa.string(): "sc:Text", pa.int32(): "sc:Integer", pa.float64(): "sc:Float"}

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """One variant: its summary without `shards`, and its files.

    `tars` are the summary's shards, or None if they are too many to list; `table` is the size in bytes and the sha256
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
    """Where a set is published: its page, the prefix of its files' addresses, and the date, as `2026-11-26`."""

    url: str
    files: str
    date: str | None


def parts_in(root: Place) -> Iterator[Part]:
    """The finished variants under `root`, one at a time. A damaged one is skipped: verify.py reports it."""
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


def croissant(
    dataset: str, variants: Iterable[Part], published: Published | None = None, *, pixels: bool = True
) -> bytes:
    """The file for a dataset's finished variants; without `pixels`, for their manifests only."""
    parts = [part for part in variants if part.summary["config"]["dataset"] == dataset]
    tars = sum(MOST_TARS + 1 if part.tars is None else len(part.tars) for part in parts)
    layout = _Layout(dataset, published, pixels, lists_tars=pixels and tars <= MOST_TARS)
    kind, words = kind_of(dataset), wording(dataset)
    split = _split(parts[0]) if parts else VALIDATION
    held = "" if pixels else f" Manifests only: no {words.result}."
    results = [[part.name, part.summary["config_sha256"], part.summary[kind.digest_of_all]] for part in parts]
    found: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"sysnoise-{dataset}",
        "description": f"{words.made_of(dataset, split)}: a record set for each variant.{held} Compare a model's "
        "scores on them to learn what a mismatch between training and deployment costs.",
        "license": _licence(dataset),
        "citeAs": CITATION,
        "keywords": ["sysnoise", "robustness", "webdataset"],
        # Changes with the variants and their results.
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
    """How the variants of a set are described."""

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
        """A variant's samples, and the further members of each."""
        about = ", ".join(f"{stage}: {part.summary['variant'][stage]}" for stage in kind_of(self.dataset).stages)
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
        """The members that are described, the main one first."""
        extension, *_ = wording(self.dataset).members(part.summary["config"])
        main = _MEMBERS.get(extension) or _image(extension)
        first = main._replace(pattern=_PATTERNS.get(self.dataset, main.pattern))
        return [first, *(_MEMBERS[name] for name in _FURTHER.get(self.dataset, ()))]

    def _columns(self, part: Part, without: frozenset[str]) -> Iterator[Values]:
        """The fields that come from the table."""
        without |= frozenset() if self.dataset in CLASSIFIED else {"label"}
        for column in kind_of(self.dataset).first_columns:
            if column.name not in without:
                source = _column_of(part, column.name)
                yield _field(part.name, column.name, _TYPES[column.type], COLUMNS[column.name], source)

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


def _image(extension: str) -> _Member:
    about = "The image as this variant renders it, losslessly."
    return _Member("image", f"image/{extension}", "sc:ImageObject", about, f"*.{extension}")


def _split(part: Part) -> str:
    return split_of(part.summary["config"])


def _file_set(name: str, encoding: str, pattern: str) -> Values:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": encoding, "includes": pattern}


def _record_set(name: str, about: str, fields: Sequence[Values]) -> Values:
    key = {"@id": f"{name}/key"}
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": about, "key": key, "field": fields}


def _member(part: Part, member: _Member, records: str, *, joined: bool) -> Iterator[Values]:
    """The fields of a member: the key, from its file's name, and the content. `joined`: the key refers to the table."""
    files = {"fileSet": {"@id": f"{part.name}/{member.field}s"}}
    # Keys have no dots. mlcroissant applies this to the result again, which must match too.
    by_name = {**files, "extract": {"fileProperty": "filename"}, "transform": {"regex": r"^([^.]+)"}}
    key = _field(records, "key", "sc:Text", COLUMNS["key"], by_name)
    yield {**key, "references": _column_of(part, "key")} if joined else key
    content = {**files, "extract": {"fileProperty": "content"}}
    yield _field(records, member.field, member.type, member.about, content)


def _column_of(part: Part, name: str) -> Values:
    return {"fileObject": {"@id": f"{part.name}/{TABLE}"}, "extract": {"column": name}}


def _field(records: str, name: str, type_: str, about: str, source: Values) -> Values:
    field = {"@type": "cr:Field", "@id": f"{records}/{name}", "name": name, "description": about}
    return {**field, "dataType": type_, "source": source}
