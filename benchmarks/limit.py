"""The cost of a run, compared with the libraries' bare calls.

    python -m benchmarks.limit [--source TREE]

Two figures for `pil_lanczos` and for `paper`, in milliseconds of processor time per image and variant. The first is the
minimum: the bare calls that the output needs, timed one by one in this process: read, decode, resize (including the
reference's), residual, colour, encode, and the hashes of source, pixels and tar. Work on equal pixels is done once. The
second is a run of generate.py with one worker, with everything except the start: the difference between a run over many
images and one over few, in all of its processes, including Ray's. The check that every image decodes to its pixels is
not part of the first figure, and is shown separately.
"""

from __future__ import annotations

import gc
import hashlib
import io
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import fpng
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import running
from generators.geometry import Frame, frame
from generators.registry import Method
from generators.selection import expand
from generators.variant import Variant, reference
from manifests.residual import residual
from pipelines.generate import png
from pipelines.text import table

T = TypeVar("T")
Pixels = NDArray[np.uint8]
Picture = Pixels | Image.Image
# Images in the shorter and in the longer run: all shards but one have 1000, and the difference is a multiple of 300.
_RUNS = {"pil_lanczos": (1000, 4000), "paper": (100, 1000)}
_CHECK = "check"


class Clock:
    """Processor time by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def time(self, stage: str, call: Callable[..., T], *arguments: Any) -> T:
        """Time a call, and return its result."""
        began = time.process_time()
        result = call(*arguments)
        self.seconds[stage] += time.process_time() - began
        return result


def main() -> None:
    """Measure, and print two tables."""
    measure(running.photographs(running.parser("Bare library calls against a whole run.").parse_args().source))


def measure(images: Sequence[bytes]) -> list[running.Figure]:
    """Print two tables; returns the figures that have aims."""
    cv2.setNumThreads(1)
    base = reference()
    found: list[running.Figure] = []
    rows: list[Sequence[str]] = [("variants", "bare calls", "a run", "ratio", "bare calls and check", "ratio")]
    stages: dict[str, dict[str, float]] = {}
    for words, runs in _RUNS.items():
        variants = expand([words], base)[0]
        stages[words], ours = _measure(images, words, variants, base, runs)
        checked = sum(stages[words].values())
        least = checked - stages[words][_CHECK]
        figures = (least, ours, ours / least, checked, ours / checked)
        rows.append((words, *(f"{figure:.2f}" for figure in figures)))
        found.append(running.Figure(f"{words}: processor time / bare calls", ours / least, 1.15, at_most=True))
    print("Milliseconds of processor time for an image and variant\n")
    print(table(rows, frozenset(range(1, 6))))
    names = dict.fromkeys(stage for spent in stages.values() for stage in spent)
    shown = [(name, *(f"{spent.get(name, 0):.3f}" for spent in stages.values())) for name in names]
    print("\nThe bare calls by stage\n")
    print(table([("stage", *stages), *shown], frozenset({1, 2})))
    return found


def _measure(
    images: Sequence[bytes], words: str, variants: Sequence[Variant], base: Variant, runs: tuple[int, int]
) -> tuple[dict[str, float], float]:
    """Milliseconds per image and variant: of the bare calls, by stage, and of a run."""
    passes: list[dict[str, float]] = []
    spent: list[float] = []
    with running.temporary() as folder:
        files = sorted(running.lay_out(images, len(images), Path(folder, "distinct")).glob("*/*"))
        for number in runs:
            passes.append(bare(files, variants, base))
            source = running.lay_out(images, number, Path(folder, f"source-{number}"))
            asked = running.imagenet(source, Path(folder, f"out-{number}"), words)
            spent.append(running.generate(*asked, "--workers", 1).total)
        passes.append(bare(files, variants, base))
    scale = 1e3 / len(files) / len(variants)
    stages = {stage: statistics.median(seconds[stage] for seconds in passes) * scale for stage in passes[0]}
    return stages, (spent[1] - spent[0]) / (runs[1] - runs[0]) / len(variants) * 1e3


def bare(files: Sequence[Path], variants: Sequence[Variant], base: Variant) -> dict[str, float]:
    """Seconds of processor time by stage, over all files."""
    clock = Clock()
    _render(files[0], variants, base, Clock())  # builds DALI's pipelines
    gc.collect()
    for file in files:
        _render(file, variants, base, clock)
    return clock.seconds


def _render(file: Path, variants: Sequence[Variant], base: Variant, clock: Clock) -> None:
    data = clock.time("read", file.read_bytes)
    clock.time("hashes", hashlib.sha256, data)
    decoded = _decode(data, (base, *variants), clock)
    width, height = _size(decoded[base.decode])
    target = frame("crop", width, height, (224,))
    resized: dict[tuple[int, Method | None], Pixels] = {}
    for variant in dict.fromkeys((base, *variants)):
        picture = decoded[variant.decode]
        if (id(picture), variant.resize) not in resized:
            resized[id(picture), variant.resize] = clock.time("resize", _resize, picture, variant.resize, target)
    against = resized[id(decoded[base.decode]), base.resize]
    encoded: dict[bytes, bytes] = {}
    for variant in variants:
        pixels = resized[id(decoded[variant.decode]), variant.resize]
        if variant.color:
            pixels = clock.time("color", variant.color.load(), pixels)
        digest = clock.time("hashes", hashlib.sha256, pixels.data).digest()
        if digest not in encoded:
            clock.time("residual", residual, pixels, against)
            encoded[digest] = clock.time("encode", fpng.from_bytes, pixels.tobytes(), target.width, target.height, 3)
            clock.time(_CHECK, png.is_proven, encoded[digest], pixels)
        clock.time("hashes", hashlib.sha256, encoded[digest])


def _decode(data: bytes, variants: Sequence[Variant], clock: Clock) -> dict[Method, Picture]:
    """Each decoder's picture of a file; the same object for equal pictures."""
    decoded: dict[Method, Picture] = {}
    for method in dict.fromkeys(variant.decode for variant in variants):
        picture = clock.time("decode", _DECODE.get(method.token) or method.load(), data)
        same = (other for other in decoded.values() if np.array_equal(np.asarray(other), np.asarray(picture)))
        decoded[method] = next(same, picture)
    return decoded


def _size(picture: Picture) -> tuple[int, int]:
    if isinstance(picture, Image.Image):
        return picture.size
    return picture.shape[1], picture.shape[0]


def _resize(picture: Picture, method: Method | None, target: Frame) -> Pixels:
    assert method
    assert target.resize
    if method.token.startswith("pil_"):
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        resized = np.asarray(image.resize(target.resize, Image.Resampling[method.options["filter"]]))
    else:
        flag = getattr(cv2, method.options["interpolation"])
        resized = np.asarray(cv2.resize(np.asarray(picture), target.resize, interpolation=flag), np.uint8)
    return target.cut(resized)


def _pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _opencv(data: bytes) -> Pixels:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flags), np.uint8)


# FFmpeg and DALI need several calls, for which the project's own functions are used.
_DECODE: dict[str, Callable[[bytes], Picture]] = {"pil": _pillow, "opencv": _opencv}


if __name__ == "__main__":
    main()
