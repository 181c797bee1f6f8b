"""What a user gains in each evaluation: images per second from a shard, compared with the original JPEG files.

    python -m benchmarks.read [--source TREE]

One process makes batches of 64 images, (64, 224, 224, 3) in uint8: from a tar of PNGs, or from the files by decoding,
resizing to a shorter side of 256 and cropping the centre. First Pillow does both, with `webdataset` in its usual loop;
then OpenCV does both, with Python's `tarfile`. Shards contain PNGs, compressed or not. Prints images per second of
processor time; below, the cost per image for `score.py` to read these shards and for `verify.py` to check them.
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
from manifests.verify import check_folder, check_tar, records_in
from pipelines.shards import open_shards
from pipelines.store import Disk
from pipelines.text import table

Pixels = NDArray[np.uint8]
_BATCH = 64
_PIECE = 128  # images that a worker of score.py gets at a time


def main() -> None:
    """Measure, and print a table."""
    measure(running.photographs(running.parser("Reading shards against reading JPEG.").parse_args().source))


def measure(images: Sequence[bytes]) -> list[running.Figure]:
    """Print a table; returns the figures that have aims."""
    cv2.setNumThreads(1)
    found: list[running.Figure] = []
    count = max(1000, len(images))
    rows: list[Sequence[str]] = [("reader", "shard, images/s", "JPEG, images/s", "faster")]
    own: list[Sequence[str]] = [("shard of", "score.py, ms", "verify.py, ms")]
    with running.temporary() as folder:
        source = running.lay_out(images, count, Path(folder, "source"))
        files = sorted(source.glob("*/*"))
        for image_format in ("png", "png_stored"):
            out = Path(folder, image_format)
            options = ("--samples-per-shard", count, "--image-format", image_format)
            running.generate(*running.imagenet(source, out, "pil_bilinear"), *options)
            (tar,) = out.rglob("*.tar")
            for name, from_shard, from_files in (
                ("Pillow, webdataset", _by_webdataset(tar), map(_by_pillow, files)),
                ("OpenCV, tarfile", _by_tarfile(tar), map(_by_opencv, files)),
            ):
                shard, jpeg = _speed(from_shard), _speed(from_files)
                if image_format == "png":
                    found.append(running.Figure(f"{name}: images/s from shards / from JPEG", shard / jpeg, 2))
                what = f"{name}, {image_format}"
                rows.append((what, f"{shard:,.0f}", f"{jpeg:,.0f}", f"{shard / jpeg:.2f}×"))
            own.append((image_format, f"{_scored(out / 'imagenet'):.2f}", f"{_verified(tar.parent, count):.2f}"))
    print(table(rows, frozenset({1, 2, 3})), table(own, frozenset({1, 2})), sep="\n\n")
    return found


def _speed(images: Iterable[Pixels]) -> float:
    """Images per second of processor time, including copying them into batches."""
    began, count = time.process_time(), 0
    batch = np.empty((_BATCH, 224, 224, 3), np.uint8)
    for count, image in enumerate(images, 1):
        batch[count % _BATCH] = image
    return count / (time.process_time() - began)


def _scored(folder: Path) -> float:
    """Milliseconds per image to read it like a worker of score.py, in pieces and with its `json`; a second pass."""
    shards = open_shards(folder)
    samples = int(shards.reference.summary["shards"][0]["samples"])
    for _ in range(2):
        began = time.process_time()
        for first in range(0, samples, _PIECE):
            for stored in shards.of_shard(shards.reference, 0, range(first, min(samples, first + _PIECE))):
                shards.info(stored)
                shards.pixels(stored)
    return (time.process_time() - began) / samples * 1e3


def _verified(folder: Path, samples: int) -> float:
    """Milliseconds per image to check a variant like verify.py; a second pass."""
    place = Disk(str(folder))
    for _ in range(2):
        began = time.process_time()
        problems = [*check_folder(place), *(problem for record in records_in(place) for problem in check_tar(record))]
        if problems:
            raise SystemExit(str(problems[0]))
    return (time.process_time() - began) / samples * 1e3


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
