"""Peak memory of a worker over one shard of 1000 images for the paper's variants.

    python -m benchmarks.memory [--source TREE] [--variant VARIANT] [--images N] [--geometry NAME] [--side N]

Runs generate.py with one worker on images taken again and again from TREE (class folders; default: the built-in
photographs; with --side, one of N x N pixels), and prints the resident set size of the worker: at most, and at most in
the first quarter of its time.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image

from pipelines.generate.sources import SampleSource

_ROOT = Path(__file__).resolve().parent.parent
_INTERVAL = 0.05  # seconds between two looks at the worker's memory


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description="Peak memory of a worker.")
    parser.add_argument("--source", type=Path, help="a tree of class folders; default: the built-in photographs")
    parser.add_argument("--variant", default="paper")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--geometry", default="crop")
    parser.add_argument("--side", type=int, help="instead of photographs, noise of this many pixels a side")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source" / "n01440764"
        source.mkdir(parents=True)
        for index, data in zip(range(given.images), itertools.cycle(_images(given.source, given.side)), strict=False):
            (source / f"image-{index:06d}.JPEG").write_bytes(data)
        began = time.monotonic()
        seen = _watch(source.parent, Path(folder) / "out", given.variant, given.geometry)
        seconds = time.monotonic() - began
    quarter = max(seen[: len(seen) // 4])
    print(
        f"{given.variant}, {given.geometry}, {given.images:,} images in one shard, {seconds:.0f} s: "
        f"worker at most {max(seen) / 2**20:.0f} MiB, at most {quarter / 2**20:.0f} MiB in its first quarter"
    )


def _images(tree: Path | None, side: int | None) -> list[bytes]:
    if side:
        buffer = io.BytesIO()
        Image.effect_noise((side, side), 60).convert("RGB").save(buffer, "JPEG")
        return [buffer.getvalue()]
    if tree:
        return [path.read_bytes() for path in sorted(tree.glob("*/*"))]
    source = SampleSource()
    return [data for data in source.read(list(source.listing().samples)) if isinstance(data, bytes)]


def _watch(source: Path, output: Path, variant: str, geometry: str) -> list[int]:
    """The worker's resident set size in bytes, from its first look to its last."""
    words = [sys.executable, "generate.py", "--variant", variant, "--dataset", "imagenet", "--source", str(source)]
    words += ["--output", str(output), "--workers", "1", "--samples-per-shard", "100000", "--geometry", geometry]
    process = subprocess.Popen(words, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen: list[int] = []
    while process.poll() is None:
        for worker in _workers(process.pid):
            try:
                seen.append(worker.memory_info().rss)
            except psutil.Error:
                continue
        time.sleep(_INTERVAL)
    if process.returncode or not seen:
        sys.exit(f"generate.py ended with {process.returncode}")
    return seen


def _workers(pid: int) -> list[psutil.Process]:
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [child for child in children if child.name().startswith("ray::_make")]
    except psutil.Error:
        return []


if __name__ == "__main__":
    os.chdir(_ROOT)
    main()
