"""Residuals and speed of the methods on a GPU, next to their counterparts on the CPU.

    python -m benchmarks.gpu [--source TREE] [--images N]

Decodes N images (default: all) from TREE (class folders; default: the built-in photographs), and resizes Pillow's
decoded images as for `--size 224`. Prints a row for each method: images per second of the method itself, in batches on
a GPU and one at a time on a CPU, without reading and encoding; and its residual against `pil` or `pil_bilinear`: the
mean over all images, the maximum, and the share of values that differ. Exits with status 2 if there is no GPU.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from generators.geometry import frame
from generators.registry import MAX_BATCH, METHODS, Image, Method
from manifests.provenance import gpu
from manifests.residual import Residual, residual
from pipelines.generate.sources import SampleSource
from pipelines.text import table

_ROWS = {
    "pil": ("pil", "dali", "dali_gpu", "dali_gpu_fancy"),
    "pil_bilinear": ("pil_bilinear", "dali_linear", "dali_gpu_linear"),
}
Arguments = tuple[Any, ...]


class _Measured(NamedTuple):
    seconds: float
    residuals: list[Residual]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Residuals and speed of the methods on a GPU.")
    parser.add_argument("--source", type=Path, help="a tree of class folders; default: the built-in photographs")
    parser.add_argument("--images", type=int, help="how many; default: all")
    given = parser.parse_args()
    if problem := METHODS["dali_gpu"].problem():
        print(f"benchmarks.gpu: dali_gpu {problem}", file=sys.stderr)
        sys.exit(2)
    files = list(itertools.islice(_files(given.source), given.images))
    if not files:
        parser.error(f"no images in the folders of {given.source}")
    sources: dict[str, list[Arguments]] = {"pil": [(data,) for data in files], "pil_bilinear": _resized(files)}
    rows: list[Sequence[str]] = [("method", "images/s", "mean |Δ|", "max |Δ|", "changed")]
    for against, tokens in _ROWS.items():
        rows += [_row(token, _measure(METHODS[token], METHODS[against], sources[against])) for token in tokens]
    print(f"{', '.join(gpu().values())}; {len(files):,} images\n")
    print(table(rows, frozenset({1, 2, 3, 4})))


def _files(tree: Path | None) -> Iterator[bytes]:
    if tree:
        yield from (path.read_bytes() for path in sorted(tree.glob("*/*")))
    else:
        source = SampleSource()
        yield from (data for data in source.read(list(source.listing().samples)) if isinstance(data, bytes))


def _resized(files: Sequence[bytes]) -> list[Arguments]:
    """The arguments of a resize method for each file."""
    images = map(METHODS["pil"].load(), files)
    return [(image, *(frame("crop", image.shape[1], image.shape[0], (224,)).resize or ())) for image in images]


def _measure(method: Method, against: Method, calls: Sequence[Arguments]) -> _Measured:
    function, reference = _batched(method), _batched(against)
    function(calls[:MAX_BATCH])  # builds pipelines, and lets memory grow
    seconds, residuals = 0.0, []
    for start in range(0, len(calls), MAX_BATCH):
        batch = calls[start : start + MAX_BATCH]
        began = time.perf_counter()
        images = function(batch)
        seconds += time.perf_counter() - began
        pairs = zip(images, reference(batch), strict=True)
        residuals += [found for image, expected in pairs if (found := residual(image, expected))]
    return _Measured(seconds, residuals)


def _batched(method: Method) -> Callable[[Sequence[Arguments]], list[Image]]:
    if method.gpu:
        return method.load_batch()
    function = method.load()
    return lambda batch: [function(*arguments) for arguments in batch]


def _row(token: str, measured: _Measured) -> tuple[str, ...]:
    mean, largest, changed = (np.array(figures) for figures in zip(*measured.residuals, strict=True))
    speed = len(measured.residuals) / measured.seconds
    return token, f"{speed:,.0f}", f"{mean.mean():.3f}", f"{largest.max()}", f"{changed.mean():.1%}"


if __name__ == "__main__":
    main()
