"""What calling a library in another process costs, compared with the same release in this process.

    python -m benchmarks.foreign [--source TREE] [--images N]

Calls the installed release of each library in this process and, in turn, in the way that other versions are called, on
N images (default: 60) of 500×375. Prints, in milliseconds per call, the medians of both and of their difference by
image, for a method of each stage. The releases are first installed in their own environments.
"""

from __future__ import annotations

import importlib.metadata
import io
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from benchmarks import running
from benchmarks.running import Figure
from generators.registry import AT, METHODS, Method, find
from pipelines.generate.releases import prepare
from pipelines.text import table

SIZE = (500, 375)
TO = (341, 256)
_TOKENS = (
    *("pil", "opencv", "ffmpeg", "dali"),
    *("pil_bilinear", "opencv_bilinear", "ffmpeg_bilinear", "dali_linear"),
    *("nv12_opencv", "nv12_ffmpeg"),
)
# Calls of each method on each image. The fastest one counts, since a machine is never quite idle.
ROUNDS = 5
AIM = 0.3


def measure(images: Sequence[bytes], most: int = 60) -> list[Figure]:
    """Print a table; returns the largest median difference in milliseconds, with its aim."""
    files = [resized(data) for data in images[:most]]
    pixels = [METHODS["pil"].load()(data).copy() for data in files]  # Pillow has no picture cached for a copy
    rows: list[Sequence[str]] = [("method", "in this process", "in its own", "difference")]
    worst = 0.0
    for token in _TOKENS:
        here = METHODS[token]
        there = find(f"{token}{AT}{importlib.metadata.version(here.library.distribution)}")
        assert there
        prepare([there])
        times = [_times(here, there, (file, image)) for file, image in zip(files, pixels, strict=True)]
        one, other = (statistics.median(each) for each in zip(*times, strict=True))
        extra = statistics.median(theirs - ours for ours, theirs in times)
        worst = max(worst, extra)
        rows.append((token, *(f"{value * 1000:.2f}" for value in (one, other, extra))))
    print(table(rows, frozenset({1, 2, 3})))
    return [Figure("a call in another process, ms on top of the library's own time", worst * 1000, AIM, at_most=True)]


def resized(data: bytes) -> bytes:
    """An image at the size of the benchmark, as a JPEG."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").resize(SIZE).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _times(here: Method, there: Method, image: tuple[bytes, Any]) -> tuple[float, float]:
    """Seconds of the fastest call in this process, and in another; they take turns."""
    calls = [call(method, *image) for method in (here, there)]
    found: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for made, times in zip(calls, found, strict=True):
            began = time.perf_counter()
            made()
            times.append(time.perf_counter() - began)
    return min(found[0]), min(found[1])


def call(method: Method, data: bytes, pixels: Any) -> Callable[[], Any]:
    """A call of a method on an image, given both encoded and decoded."""
    function = method.load()
    if method.whole:
        return lambda: function(data, *TO)
    if method.stage == "decode":
        return lambda: function(data)
    return lambda: function(pixels, *(TO if method.stage == "resize" else ()))


def main() -> None:
    """Measure, and print a table."""
    given = running.parser_of_images(__doc__.splitlines()[0]).parse_args()
    measure(running.photographs(given.source), given.images)


if __name__ == "__main__":
    main()
