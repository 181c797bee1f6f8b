"""What `generators.mix.Mix` costs, compared with the libraries that it calls.

    python -m benchmarks.mix [--source TREE] [--images N]

Each of N images (default: 60) is decoded, cut to a box that RandomResizedCrop might draw and resized to 224×224, by a
Mix and, with the same draw, by code as written by hand: bare calls of Pillow and OpenCV, and the project's own
functions for FFmpeg, which needs several calls. Both take turns. Prints milliseconds of processor time per image, for
pairs of methods and for a mix of all of them: averages over images of the fastest of nine calls.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks import running
from benchmarks.running import Figure
from generators.mix import Box, Drawn, Mix
from generators.pixels.pillow import header
from generators.registry import METHODS
from pipelines.text import table

AIM = 1.03
SIDE = 224
ROUNDS = 9
_DECODE = ("pil", "opencv", "ffmpeg")
_RESIZE = ("pil_nearest", "pil_bilinear", "pil_bicubic", "opencv_nearest", "opencv_bilinear", "opencv_bicubic")
# From the slowest to the fastest, and pairs that pass an image from one library to another.
_PAIRS = (
    *(("pil", "pil_bicubic"), ("pil", "pil_bilinear"), ("pil", "pil_nearest"), ("pil", "opencv_bilinear")),
    *(("opencv", "opencv_bicubic"), ("opencv", "opencv_nearest"), ("opencv", "pil_bilinear")),
    *(("ffmpeg", "opencv_bilinear"), ("ffmpeg", "pil_bilinear")),
)


def main() -> None:
    """Measure, and print a table."""
    given = running.parser_of_images(__doc__.splitlines()[0]).parse_args()
    measure(running.photographs(given.source), given.images)


def measure(images: Sequence[bytes], most: int = 60) -> list[Figure]:
    """Print a table; returns the largest ratio, with its aim."""
    cv2.setNumThreads(1)
    boxed = [(data, _box(data, seed)) for seed, data in enumerate(images[:most])]
    rows: list[Sequence[str]] = [("methods", "by hand", "by a Mix", "ratio")]
    mixes = {"+".join(pair): Mix(*pair) for pair in _PAIRS} | {"all of them": Mix(_DECODE, _RESIZE)}
    worst = 0.0
    for name, mix in mixes.items():
        times = [_times(mix, data, box, str(number)) for number, (data, box) in enumerate(boxed)]
        hand, ours = (sum(each) / len(times) * 1e3 for each in zip(*times, strict=True))
        worst = max(worst, ours / hand)
        rows.append((name, f"{hand:.3f}", f"{ours:.3f}", f"{ours / hand:.3f}"))
    print(table(rows, frozenset({1, 2, 3})))
    return [Figure("mix training: processor time / the libraries' calls", worst, AIM, at_most=True)]


def _box(data: bytes, seed: int) -> Box:
    """A random box of half the image's area, with its aspect ratio."""
    found = header(data)
    assert found
    height, width = int(found.height * 0.5**0.5), int(found.width * 0.5**0.5)
    draw = random.Random(seed)
    return Box(draw.randint(0, found.height - height), draw.randint(0, found.width - width), height, width)


def _times(mix: Mix, data: bytes, box: Box, key: str) -> tuple[float, float]:
    """Seconds of processor time of the fastest call by hand, and of a mix; they take turns."""
    drawn = mix.draw(key)
    calls: list[Callable[[], Any]] = [lambda: _by_hand(drawn, data, box), lambda: mix(data, SIDE, key=key, box=box)]
    found: list[list[float]] = [[], []]
    for turn in range(ROUNDS):
        for which in (0, 1) if turn % 2 else (1, 0):
            began = time.process_time()
            calls[which]()
            found[which].append(time.process_time() - began)
    return min(found[0]), min(found[1])


def _by_hand(drawn: Drawn, data: bytes, box: Box) -> Any:
    """The pixels, by code as one would write it for the drawn libraries."""
    corners = (box.left, box.top, box.left + box.width, box.top + box.height)
    resize = METHODS[drawn.resize]
    if drawn.resize.startswith("pil"):
        picture = Image.open(io.BytesIO(data)).convert("RGB") if drawn.decode == "pil" else _array(drawn, data)
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        return np.array(image.crop(corners).resize((SIDE, SIDE), Image.Resampling[resize.options["filter"]]))
    pixels = _array(drawn, data)[corners[1] : corners[3], corners[0] : corners[2]]
    return cv2.resize(pixels, (SIDE, SIDE), interpolation=getattr(cv2, resize.options["interpolation"]))


def _array(drawn: Drawn, data: bytes) -> Any:
    if drawn.decode == "pil":
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    if drawn.decode == "opencv":
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.ascontiguousarray(METHODS[drawn.decode].load()(data))


if __name__ == "__main__":
    main()
