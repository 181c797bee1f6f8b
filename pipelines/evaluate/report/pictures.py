"""Pictures of samples that were lost: the reference's image, a variant's image, and their difference by channel.

Samples that the most variants lose come first. Differences are stretched to 0–255 for each sample and channel, as in
the paper's Fig. 5, since most are too small to see.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from generators.registry import MODEL_STAGES
from pipelines.errors import RunError
from pipelines.evaluate.results import Line, Results

# Larger images are reduced to at most this side, in pixels.
_SIDE = 448


class Panel(NamedTuple):
    """One picture as a data URI, with its size in pixels and its caption."""

    uri: str
    width: int
    height: int
    caption: str


class Example(NamedTuple):
    """One sample: the variant shown, how many of the `variants` lose it, the pictures, and a note on what they hide."""

    key: str
    variant: str
    lost_by: int
    variants: int
    panels: Sequence[Panel]
    note: str


def examples(results: Results, count: int, wanted: Sequence[str]) -> list[Example]:
    """The `wanted` samples, then those that the most variants lose, up to `count` in all."""
    lines = [line for line in results.lines if not line.same]
    if not lines:
        return []
    lost = np.array([line.lost_at for line in lines])
    chosen = [place for place, key in enumerate(results.keys) if key in wanted] + _worst(lost)
    shown = {place: _shown(lines, lost[:, place]) for place in list(dict.fromkeys(chosen))[: max(count, len(wanted))]}
    by_variant = defaultdict(set)
    for place, line in shown.items():
        by_variant[line.name].add(results.keys[place])
        by_variant[results.reference.name].add(results.keys[place])
    pixels = {name: _read(results, name, keys) for name, keys in by_variant.items()}
    return [
        _example(results, place, line, int(np.count_nonzero(lost[:, place])), len(lines), pixels)
        for place, line in shown.items()
    ]


def _worst(lost: NDArray[np.int64]) -> list[int]:
    """Indices of the samples that any variant loses: first by the number of variants, then by how much is lost."""
    variants, total = np.count_nonzero(lost, axis=0), lost.sum(axis=0)
    order = np.lexsort((-total, -variants))
    return [int(place) for place in order if variants[place]]


def _shown(lines: Sequence[Line], lost: NDArray[np.int64]) -> Line:
    """The variant to show for a sample: among those that lose most of it, the one that costs most overall."""
    return max(zip(lost, lines, strict=True), key=lambda pair: (pair[0], pair[1].delta))[1]


def _read(results: Results, name: str, keys: set[str]) -> dict[str, NDArray[np.uint8]]:
    stored = results.shards.stored(name, keys)
    found = {sample.key: results.shards.pixels(sample) for sample in stored if sample.key in keys}
    if lacking := keys - found.keys():
        raise RunError(f"the tars of {name} lack {min(lacking)}: run verify.py")
    return found


def _example(
    results: Results,
    place: int,
    line: Line,
    lost_by: int,
    variants: int,
    pixels: Mapping[str, Mapping[str, NDArray[np.uint8]]],
) -> Example:
    key = results.keys[place]
    reference, variant = pixels[results.reference.name][key], pixels[line.name][key]
    noise = "+".join(line.stages[stage] for stage in line.changed if stage in MODEL_STAGES)
    panels = [_panel(reference, results.reference.name)]
    if set(line.changed) <= set(MODEL_STAGES):
        return Example(
            key, line.name, lost_by, variants, panels, f"The pixels are the reference's: only {noise} differs."
        )
    panels.append(_panel(variant, line.name))
    if reference.shape == variant.shape:  # shapes differ if a decoder rotates the image
        difference = np.abs(variant.astype(np.int16) - reference).astype(np.uint8)
        for channel, name in enumerate(("red", "green", "blue")):
            panels.append(_difference(difference[:, :, channel], name))
    hidden = f"The effect of {noise} is not visible in the pixels." if noise else ""
    return Example(key, line.name, lost_by, variants, panels, hidden)


def _panel(pixels: NDArray[np.uint8], caption: str) -> Panel:
    factor = -(-max(pixels.shape[:2]) // _SIDE)
    return _encode(Image.fromarray(pixels).reduce(factor), caption)


def _difference(channel: NDArray[np.uint8], name: str) -> Panel:
    largest = int(channel.max())
    factor = -(-max(channel.shape) // _SIDE)
    # The largest value in each block: a mean would hide single pixels.
    padded = np.pad(channel, [(0, -side % factor) for side in channel.shape])
    rows, columns = (side // factor for side in padded.shape)
    blocks = padded.reshape(rows, factor, columns, factor).max(axis=(1, 3))
    stretched = np.round(blocks * (255 / max(largest, 1))).astype(np.uint8)
    return _encode(Image.fromarray(stretched), f"|Δ {name}| ≤ {largest}")


def _encode(image: Image.Image, caption: str) -> Panel:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, method=4)
    text = base64.b64encode(buffer.getvalue()).decode()
    return Panel(f"data:image/webp;base64,{text}", image.width, image.height, caption)
