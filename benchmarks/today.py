"""Images per second and bytes, compared with existing ways to make such sets.

    python -m benchmarks.today [--source TREE] [--img2dataset PROGRAM]

The same images on the same two cores, with all files local. The other ways:

* *the released practice*, as published by the paper's authors: one process, one pass for each variant; each image is
  decoded, resized from its full size to 256x256, cropped to 224x224, and saved as `.npy`. The eleven variants that are
  a resize of Pillow's or OpenCV's, and OpenCV's decoder; then the same with FFmpeg's decoder, which is started as a
  program for each image, after OpenCV has read the size. Its DALI and its colour mode were not published;
* *img2dataset*: two processes, 256x256 by area or Lanczos with a crop, as PNG (compression 1) in WebDataset shards;
* *a ShardWriter loop*: one process, `webdataset.ShardWriter`, Pillow's Lanczos and Pillow's PNG, 224x224.

Our own speeds and img2dataset's are differences between a longer and a shorter run, so that they do not include the
start. Figures per *core* count processor seconds, so that one process can be compared with two.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import psutil
import webdataset as wds
from numpy.typing import NDArray
from PIL import Image

from benchmarks import running
from pipelines.text import table

IMG2DATASET = str(running.ROOT / ".venv-img2dataset" / "bin" / "img2dataset")
Pixels = NDArray[np.uint8]
_PILLOW = [Image.Resampling[name] for name in ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")]
_OPENCV = [cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]


class Speed(NamedTuple):
    """Images (times variants) per second and per processor second, and the bytes of each."""

    second: float
    core: float
    size: float


def main() -> None:
    """Measure, and print a table."""
    parser = running.parser("Speed compared with existing ways.")
    parser.add_argument("--img2dataset", default=IMG2DATASET, help="the program; left out if it does not exist")
    given = parser.parse_args()
    measure(running.photographs(given.source), given.img2dataset)


def measure(images: Sequence[bytes], img2dataset: str) -> list[running.Figure]:
    """Print a table; returns the figures that have aims."""
    running.pin(2)
    found: list[running.Figure] = []
    rows: list[Sequence[str]] = [("way", "images/s", "per core", "bytes", "ours, times", "per core", "bytes")]
    with running.temporary() as folder:
        paper = _ours(images, "paper", "squash", (500, 1500), Path(folder, "paper"))
        lanczos = _ours(images, "pil_lanczos", "crop", (1000, 3000), Path(folder, "lanczos"))
        files = sorted(running.lay_out(images, len(images), Path(folder, "files")).glob("*/*"))
        released, program = _released(files, Path(folder, "released"))
        rows.append(_row("the released practice", released, paper))
        found.append(_figure("the released practice", released, paper, 5))
        found.append(running.Figure("paper: bytes / the released practice's", paper.size / released.size, 0.75, True))
        if program:
            rows.append(_row("the same with FFmpeg's decoder", program, paper))
            found.append(_figure("the same with FFmpeg's program", program, paper, 25))
        loop = _shard_writer(files, Path(folder, "shards"))
        rows.append(_row("a ShardWriter loop", loop, lanczos))
        found.append(_figure("a ShardWriter loop", loop, lanczos, 3))
        if shutil.which(img2dataset):
            theirs = _img2dataset(images, img2dataset, Path(folder, "img2dataset"))
            rows.append(_row("img2dataset", theirs, lanczos))
            found.append(_figure("img2dataset", theirs, lanczos, 1.5))
        else:
            print(f"left out: no program {img2dataset}", file=sys.stderr)
    print("Images (times variants) per second: the other way's, and how many times faster ours is\n")
    print(table(rows, frozenset(range(1, 7))))
    for name, speed in (("paper", paper), ("pil_lanczos", lanczos)):
        print(f"\nours, {name}: {speed.second:,.0f} images/s, {speed.core:,.0f} for a core, {speed.size:,.0f} bytes")
    return found


def _figure(name: str, theirs: Speed, ours: Speed, aim: float) -> running.Figure:
    return running.Figure(f"images/s / {name}", ours.second / theirs.second, aim)


def _row(name: str, theirs: Speed, ours: Speed) -> tuple[str, ...]:
    ratios = (f"{ours.second / theirs.second:.2f}", f"{ours.core / theirs.core:.2f}", f"{ours.size / theirs.size:.2f}")
    return name, f"{theirs.second:,.0f}", f"{theirs.core:,.0f}", f"{theirs.size:,.0f}", *ratios


def _ours(images: Sequence[bytes], variant: str, geometry: str, counts: tuple[int, int], folder: Path) -> Speed:
    """The speed of generate.py with two workers, in shards of a quarter of the shorter run, including manifests."""
    runs, sizes = [], []
    for count in counts:
        source = running.lay_out(images, count, folder / f"source-{count}")
        output = folder / f"out-{count}"
        asked = running.imagenet(source, output, variant)
        per_shard = counts[0] // 4
        runs.append(running.generate(*asked, "--geometry", geometry, "--workers", 2, "--samples-per-shard", per_shard))
        sizes.append(running.size_of(output))
        variants = sum(path.is_dir() for path in (output / "imagenet").iterdir())
    made = (counts[1] - counts[0]) * variants
    short, long = runs
    return Speed(made / (long.seconds - short.seconds), made / (long.total - short.total), (sizes[1] - sizes[0]) / made)


def _released(files: Sequence[Path], folder: Path) -> tuple[Speed, Speed | None]:
    """The speed of the published variants together, without FFmpeg's; then FFmpeg's, if it is installed."""
    folder.mkdir()
    passes = [(_by_pillow, way) for way in _PILLOW] + [(_by_pillow, way) for way in _OPENCV]
    together = _timed(files, folder, [*passes, (_by_opencv, Image.Resampling.BILINEAR)])
    if not shutil.which("ffmpeg"):
        print("left out: no program ffmpeg", file=sys.stderr)
        return together, None
    return together, _timed(files[:100], folder, [(_by_ffmpeg, Image.Resampling.BILINEAR)])


Filter = int | Image.Resampling


def _timed(files: Sequence[Path], folder: Path, passes: Sequence[tuple[Callable[[Path], Pixels], Filter]]) -> Speed:
    began, used = time.perf_counter(), _processor()
    for number, (decode, way) in enumerate(passes):
        for file in files:
            np.save(folder / f"{number}-{file.name}.npy", _resized(decode(file), way))
    made = len(files) * len(passes)
    speed = Speed(made / (time.perf_counter() - began), made / (_processor() - used), running.size_of(folder) / made)
    for path in folder.iterdir():
        path.unlink()
    return speed


def _processor() -> float:
    """Seconds of processor time of this process and of its finished programs."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _resized(image: Pixels, way: Filter) -> Pixels:
    if isinstance(way, Image.Resampling):
        return np.asarray(Image.fromarray(image).resize((256, 256), way).crop((16, 16, 240, 240)))
    return np.asarray(cv2.resize(image, (256, 256), interpolation=way)[16:240, 16:240], np.uint8)


def _by_pillow(file: Path) -> Pixels:
    with Image.open(io.BytesIO(np.fromfile(file, np.uint8).tobytes())) as image:
        return np.array(image.convert("RGB"))


def _by_opencv(file: Path) -> Pixels:
    image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_BGR2RGB), np.uint8)


def _by_ffmpeg(file: Path) -> Pixels:
    image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    words = ["ffmpeg", "-noautorotate", "-i", str(file), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:"]
    done = subprocess.run(words, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(np.asarray(image).shape)


def _shard_writer(files: Sequence[Path], folder: Path) -> Speed:
    folder.mkdir()
    began, used = time.perf_counter(), _processor()
    with wds.ShardWriter(str(folder / "validation-%05d.tar"), maxcount=1000, verbose=0) as sink:
        for file in files:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
            width, height = (max(256, side * 256 // min(image.size)) for side in image.size)
            left, top = (width - 224) // 2, (height - 224) // 2
            resized = image.resize((width, height), Image.Resampling.LANCZOS)
            cut = resized.crop((left, top, left + 224, top + 224))
            sink.write({"__key__": file.stem, "png": cut, "cls": 0})
    made = len(files)
    return Speed(made / (time.perf_counter() - began), made / (_processor() - used), running.size_of(folder) / made)


def _img2dataset(images: Sequence[bytes], program: str, folder: Path) -> Speed:
    found, sizes, counts = [], [], (500, 2500)
    for count in counts:
        source = running.lay_out(images, count, folder / f"source-{count}")
        urls = folder / f"{count}.txt"
        urls.write_text("".join(f"{path.as_uri()}\n" for path in sorted(source.glob("*/*"))))
        output = folder / f"out-{count}"
        words = [program, "--url_list", urls, "--output_folder", output, "--output_format", "webdataset"]
        words += ["--image_size", 256, "--resize_mode", "center_crop", "--downscale_interpolation", "lanczos"]
        words += ["--encode_format", "png", "--encode_quality", 1, "--number_sample_per_shard", counts[0] // 4]
        words += ["--processes_count", 2, "--thread_count", 8]
        began, used = time.perf_counter(), _processor()
        subprocess.run(
            list(map(str, words)),
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"},
        )
        found.append((time.perf_counter() - began, _processor() - used))
        sizes.append(running.size_of(output))
    made = counts[1] - counts[0]
    (short, short_used), (long, long_used) = found
    return Speed(made / (long - short), made / (long_used - short_used), (sizes[1] - sizes[0]) / made)


if __name__ == "__main__":
    main()
