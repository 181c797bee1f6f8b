"""Checks that shards are what their manifests say. Reads every byte, decodes every result, writes nothing.

Each finding is a `Problem`: a place and what is wrong there. Records, tars and manifests are checked against one
another, so that an edit of any of them is found: a tar against its record's hash and rows, and the manifests against
those derived again from the records.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import reprlib
import tarfile
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from manifests import png
from manifests.derive import derive, read_records, table_differences
from manifests.hashed import HashedFile
from manifests.images import LABEL_MAP, LABEL_MAP_SHA256, extension_of
from manifests.litter import is_litter
from manifests.mels import MEL, mel_sha256
from manifests.place import P, Place
from manifests.row import Row
from manifests.schema import (
    CARD,
    CARD_ENTRY,
    SUMMARY,
    TABLE,
    TIMM,
    ManifestError,
    Record,
    differences,
)
from manifests.shape import NAME
from manifests.splits import is_of_shard, is_record, shard_name
from manifests.untrusted import LARGEST_JSON, Tar, parse_description

# Bytes of a card: enough for thousands of variants.
_LARGEST_CARD = 2**24
# How many differences of one file are reported, and characters of each value.
_MOST_DIFFERENCES, _SHOWN = 1000, 200
# An output has datasets, and a dataset has variants.
_LEVELS = 3
# Lossless formats by Pillow's names. No others are opened, since some, such as EPS, run programs.
_FORMATS = {"png": ("PNG",), "webp": ("WEBP",)}


class Problem(NamedTuple):
    """One thing that is wrong: the file (and the sample in it), and what is wrong with it.

    `promised` marks a difference that is within what is promised for another kind of machine.
    """

    where: str
    what: str
    promised: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def variant_folders(place: P) -> list[P]:
    """The variants' folders at `place`, which is one itself, a dataset's folder, or an output folder."""
    level = [place]
    for _ in range(_LEVELS):
        found = [folder for folder in level if any(map(_is_variants, folder.files()))]
        if found:
            return found
        level = [folder / name for folder in level for name in folder.folders()]
    return []


def _is_variants(name: str) -> bool:
    """Whether a file with this name makes its folder a variant's."""
    return is_of_shard(name) or name in (SUMMARY, TABLE, TIMM)


def records_in(folder: P) -> list[P]:
    """The files named like a variant's records, in order."""
    return [folder / name for name in folder.files() if is_record(name)]


def check_card(root: Place) -> Iterator[Problem]:
    """Check that every variant listed in a dataset's card has a folder with shards."""
    card = root / CARD
    try:
        lines = card.read(_LARGEST_CARD).splitlines()
        entry = CARD_ENTRY.encode()
        names = [parse_description(line.removeprefix(entry)) for line in lines if line.startswith(entry)]
        if odd := [name for name in names if not isinstance(name, str) or not NAME.fullmatch(name)]:
            raise ValueError(f"{reprlib.repr(odd[0])} is not a variant's name")
    except FileNotFoundError:
        return
    except (ValueError, OSError) as error:
        yield Problem(str(card), f"is damaged ({error}); the same generate.py command writes it again")
        return
    existing = set(root.folders())
    for name in names:
        if name not in existing or not any(map(is_of_shard, (root / name).files())):
            yield Problem(str(root / name), f"missing variant: {CARD} lists it, but it has no shards")


def records_of(folder: P) -> tuple[list[P], list[Problem]]:
    """The readable records of a variant, and the problems of the others."""
    good, problems = [], []
    for place, found in _records(folder):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            good.append(place)
    return good, problems


def _records(folder: P) -> Iterator[tuple[P, Record | Problem]]:
    """A variant's records, one at a time, each read or with the reason why it cannot be."""
    for place in records_in(folder):
        try:
            record = Record.read(place)
            if place.name != f"{record.name}.json":
                raise ManifestError(f"{place.name} is the record of {record.name}")
            yield place, record
        except (ManifestError, OSError) as error:
            yield place, Problem(str(place), str(error))


def check_folder(folder: Place) -> list[Problem]:
    """Everything about a variant that can be checked without opening its tars."""
    return list(_check_folder(folder))


def _check_folder(folder: Place) -> Iterator[Problem]:
    good, damaged, strange = [], [], []
    first: Record | None = None
    for place, found in _records(folder):
        if isinstance(found, Problem):
            damaged.append(found)
            continue
        good.append(place)
        first = first or found
        if other := found.recipe.differences(first.recipe):
            strange.append(Problem(str(place), f"made with another recipe than {good[0].name}: {other[0]}"))
    yield from damaged
    files = folder.files()
    yield from _check_set(folder, first, files)
    yield from strange
    if damaged:
        return
    missing = [name for name in (TABLE, SUMMARY, TIMM) if name not in files]
    if missing:
        yield Problem(str(folder), f"unfinished: no {', '.join(missing)}; run the same generate.py command again")
    elif good:
        yield from _check_manifests(folder, good)


def _check_set(folder: P, first: Record | None, files: Collection[str]) -> Iterator[Problem]:
    """Check that all shards that the first record counts exist, and no other files."""
    if not first:
        yield Problem(str(folder), "has no record of any shard")
        return
    expected = {shard_name(index, first.shards, first.recipe.split) for index in range(first.shards)}
    for name in sorted(expected):
        if f"{name}.json" not in files:
            yield Problem(str(folder / f"{name}.json"), "missing shard: it has no record")
        if f"{name}.tar" not in files:
            yield Problem(str(folder / f"{name}.tar"), "missing shard: it has no tar")
    allowed = {f"{name}{suffix}" for name in expected for suffix in (".tar", ".json")} | {TABLE, SUMMARY, TIMM}
    for name in folder.names():
        if name not in allowed and not is_litter(name):
            yield Problem(str(folder / name), "extra file: not part of this variant")


def _check_manifests(folder: P, records: Sequence[P]) -> Iterator[Problem]:
    """Check the three manifest files against those derived from the records."""
    derived = derive(read_records(records))
    for name, data in derived.files.items():
        path = folder / name
        try:
            held = path.read(max(LARGEST_JSON, 2 * len(data)))
            if held == data:
                continue
            differing = (_compare_tables if name == TABLE else _compare_json)(path, held, data)
            found = list(itertools.islice(differing, _MOST_DIFFERENCES))
        except (ValueError, OSError) as error:
            yield Problem(str(path), f"is not {'Parquet' if name == TABLE else 'JSON'} ({str(error).splitlines()[0]})")
            continue
        yield from found
        # Another pyarrow writes the same values as different bytes.
        alike = name != TABLE or derived.summary["provenance"]["libraries"].get("pyarrow") == pa.__version__
        if not found and alike:
            yield Problem(str(path), "was rewritten: same values, different bytes")


def _compare_json(path: Place, held: bytes, derived: bytes) -> Iterator[Problem]:
    for field, mine, theirs in differences("", parse_description(held), json.loads(derived)):
        what = f"{field} is {json.dumps(mine)[:_SHOWN]}, but the records say {json.dumps(theirs)[:_SHOWN]}"
        yield Problem(str(path), what)


def _compare_tables(path: Place, held: bytes, derived: bytes) -> Iterator[Problem]:
    for key, what in table_differences(held, derived):
        yield Problem(f"{path}, {key}" if key else str(path), what)


def check_tar(place: Place) -> list[Problem]:
    """Check a shard's tar against the record at `place`: its hash, its members, and every result's values."""
    steps = tar_steps(place)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: list[Problem] = end.value
            return found


def tar_steps(place: Place) -> Generator[int, None, list[Problem]]:
    """`check_tar` as a generator that yields 1 for each sample checked."""
    try:
        record = Record.read(place)
    except (ManifestError, OSError):
        return []  # check_folder reports it
    path = place.parent / f"{place.name.removesuffix('.json')}.tar"
    if not path.is_file():
        return []  # check_folder reports it
    with path.open() as opened:
        file = HashedFile(opened)
        members: list[Problem] = []
        for problems in _check_members(path, cast("BinaryIO", file), record):
            members += problems
            yield 1
        sha256 = file.sha256()
    of_all = []
    if file.size != record.tar_bytes:
        what = f"has {file.size:,} bytes, but the record says {record.tar_bytes:,} (truncated?)"
        of_all.append(Problem(str(path), what))
    if sha256 != record.tar_sha256:
        of_all.append(Problem(str(path), "its sha256 is not the record's"))
    return [*of_all, *members]


def _check_members(path: Place, file: BinaryIO, record: Record) -> Iterator[list[Problem]]:
    """What is wrong with each sample in turn, and finally with the end of the tar."""
    try:
        with Tar(file) as tar:
            for row in record.rows:
                if row.status == "ok":
                    yield list(_check_sample(path, tar, row, record.recipe.config))
            extra = tar.next()
            if extra is not None:
                yield [Problem(f"{path}, {extra.name}", "extra member: the record has no such row")]
    except (tarfile.TarError, EOFError, OSError) as error:
        yield [Problem(str(path), f"cannot be read to its end ({error})")]


def _check_sample(path: Place, tar: Tar, row: Row, config: Mapping[str, Any]) -> Iterator[Problem]:
    for extension, content in row.members(config).items():
        name = f"{row.key}.{extension}"
        member = tar.next()
        if member is None or member.name != name:
            found = member.name if member else "the end of the tar"
            raise tarfile.TarError(f"expected {name}, found {found}")
        data = tar.content(member)
        where = f"{path}, {name}"
        if (member.mtime, member.uid, member.gid, member.mode) != (0, 0, 0, 0o644):
            yield Problem(where, "its header is not reproducible (mtime, uid, gid or mode)")
        if content is not None:
            wrong = None if data == content else "is not what the row says"
        else:
            wrong = _check_result(data, row, extension, config)
        if wrong:
            yield Problem(where, wrong)


def _check_result(data: bytes, row: Row, extension: str, config: Mapping[str, Any]) -> str | None:
    """What is wrong with a binary member; None if nothing is."""
    try:
        if extension == MEL:
            return _check_mel(decode_mel(data), row)
        if extension == LABEL_MAP:
            return _check_label_map(decode_label_map(data), row)
        return _check_pixels(decode(data, str(config["image_format"])), row)
    except Exception as error:  # damaged bytes can raise anything; all of it means the same
        reason = str(error).partition("\n")[0].partition(" at 0x")[0] or type(error).__name__
        return f"cannot be decoded ({reason})"


def _check_label_map(classes: NDArray[np.uint8], row: Row) -> str | None:
    held = row.member()
    if classes.shape != (held["height"], held["width"]):
        return f"has the shape {classes.shape}, but the row says {held['width']}x{held['height']}"
    if hashlib.sha256(np.ascontiguousarray(classes).data).hexdigest() != held[LABEL_MAP_SHA256]:
        return f"its classes are not those of the row's {LABEL_MAP_SHA256}"
    return None


def _check_pixels(pixels: NDArray[np.uint8], row: Row) -> str | None:
    held = row.member()
    if pixels.shape != (held["height"], held["width"], 3):
        return f"is {pixels.shape[1]}x{pixels.shape[0]}, but the row says {held['width']}x{held['height']}"
    if hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest() != held["pixel_sha256"]:
        return "its pixels are not those of the row's pixel_sha256"
    return None


def _check_mel(mel: NDArray[np.float32], row: Row) -> str | None:
    held = row.member()
    if mel.shape != (held["bands"], held["frames"]):
        bands, frames = mel.shape
        return f"has {bands} bands and {frames} frames, but the row says {held['bands']} and {held['frames']}"
    return None if mel_sha256(mel) == held["mel_sha256"] else "its values are not those of the row's mel_sha256"


def decode_mel(data: bytes) -> NDArray[np.float32]:
    """A shard's mel spectrogram as float32 of shape (bands, frames)."""
    loaded: NDArray[np.float32] = np.load(io.BytesIO(data), allow_pickle=False)
    if loaded.dtype != np.dtype("<f4") or loaded.ndim != 2:
        raise ValueError(f"it is {loaded.dtype} of shape {loaded.shape}, not a mel spectrogram")
    return loaded


def decode(data: bytes, image_format: str) -> NDArray[np.uint8]:
    """A shard's image as RGB uint8 of shape (height, width, 3). NumPy reads npy, ISA-L most PNGs, Pillow the rest."""
    extension = extension_of(image_format)
    if extension == "png" and (pixels := png.read(data)) is not None:
        return pixels
    if extension == "npy":
        loaded: NDArray[np.uint8] = np.load(io.BytesIO(data), allow_pickle=False)
        if loaded.dtype != np.uint8 or loaded.ndim != 3 or loaded.shape[2] != 3:
            raise ValueError(f"it is {loaded.dtype} of shape {loaded.shape}, not an image")
        return loaded
    with Image.open(io.BytesIO(data), formats=_FORMATS.get(extension, ())) as image:
        return np.asarray(image.convert("RGB"))


def decode_label_map(data: bytes) -> NDArray[np.uint8]:
    """A shard's label map as uint8 of shape (height, width)."""
    with Image.open(io.BytesIO(data), formats=_FORMATS["png"]) as image:
        classes = np.asarray(image)
    if classes.dtype != np.uint8 or classes.ndim != 2:
        raise ValueError(f"it is {classes.dtype} of shape {classes.shape}, not a label map")
    return classes
