"""What a user gains in each evaluation: images per second from a shard, against the original JPEG files.

    python -m benchmarks.read [--source TREE]

One process makes batches of 64 images, (64, 224, 224, 3) in uint8: from a tar of PNGs, or from the files by decoding,
resizing to a shorter side of 256 and cutting out the centre. Pillow does both, with `webdataset`, as its loops are
written; then OpenCV does both, with Python's `tarfile`. Prints images per second of processor time.
"""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import webdataset as wds
from numpy.typing import NDArray
from PIL import Image

from benchmarks import running
from generators.geometry import frame
from pipelines.text import table

Pixels = NDArray[np.uint8]
_BATCH = 64


def main() -> None:
    """Measure, and print a table."""
    measure(running.photographs(running.parser("Reading shards against reading JPEG.").parse_args().source))


def measure(images: Sequence[bytes]) -> list[running.Figure]:
    """Print a table; what the aims are for."""
    cv2.setNumThreads(1)
    found: list[running.Figure] = []
    count = max(1000, len(images))
    with running.temporary() as folder:
        source = running.lay_out(images, count, Path(folder, "source"))
        running.generate(*running.imagenet(source, Path(folder, "out"), "pil_bilinear"), "--samples-per-shard", count)
        (tar,) = Path(folder, "out").rglob("*.tar")
        files = sorted(source.glob("*/*"))
        rows: list[Sequence[str]] = [("by", "shard, images/s", "JPEG, images/s", "faster")]
        for name, from_shard, from_files in (
            ("Pillow, webdataset", _by_webdataset(tar), map(_by_pillow, files)),
            ("OpenCV, tarfile", _by_tarfile(tar), map(_by_opencv, files)),
        ):
            shard, jpeg = _speed(from_shard), _speed(from_files)
            found.append(running.Figure(f"{name}: images/s from shards / from JPEG", shard / jpeg, 2))
            rows.append((name, f"{shard:,.0f}", f"{jpeg:,.0f}", f"{shard / jpeg:.2f}×"))
    print(table(rows, frozenset({1, 2, 3})))
    return found


def _speed(images: Iterable[Pixels]) -> float:
    """Images per second of processor time, made into batches."""
    began, count = time.process_time(), 0
    batch = np.empty((_BATCH, 224, 224, 3), np.uint8)
    for count, image in enumerate(images, 1):
        batch[count % _BATCH] = image
    return count / (time.process_time() - began)


def _by_webdataset(tar: Path) -> Iterator[Pixels]:
    for image, _ in wds.WebDataset(str(tar), shardshuffle=False).decode("rgb8").to_tuple("png", "cls"):
        yield image


def _by_tarfile(tar: Path) -> Iterator[Pixels]:
    with tarfile.open(tar, "r:") as opened:
        for member in opened:
            file = opened.extractfile(member) if member.name.endswith(".png") else None
            if file:
                yield np.asarray(cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def _by_pillow(file: Path) -> Pixels:
    with Image.open(io.BytesIO(file.read_bytes())) as opened:
        image = opened.convert("RGB")
    return _cut(image.size, lambda size: np.asarray(image.resize(size, Image.Resampling.BILINEAR)))


def _by_opencv(file: Path) -> Pixels:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), flags)
    height, width = np.asarray(image).shape[:2]
    return _cut((width, height), lambda size: np.asarray(cv2.resize(np.asarray(image), size), np.uint8))


def _cut(size: tuple[int, int], resize: Callable[[tuple[int, int]], Pixels]) -> Pixels:
    target = frame("crop", *size, (224,))
    assert target.resize
    return target.cut(resize(target.resize))


if __name__ == "__main__":
    main()
