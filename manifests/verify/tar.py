"""Checks of tars against their records: the hash, the members, and the values of every result."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Generator, Iterator, Mapping
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from manifests.hashed import HashedFile
from manifests.images import LABEL_MAP, LABEL_MAP_SHA256
from manifests.mels import MEL, mel_sha256
from manifests.place import Place
from manifests.row import Row
from manifests.schema import ManifestError, Record
from manifests.untrusted import Tar
from manifests.verify.decode import decode, decode_label_map, decode_mel
from manifests.verify.problem import Problem


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
