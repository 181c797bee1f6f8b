"""The page as HTML: tables, small charts and matrices, and what its script needs."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from manifests.splits import split_of
from pipelines.page.apart import Apart
from pipelines.page.chosen import FEWEST
from pipelines.page.colours import coloured, colours, ink_on
from pipelines.page.details import STEPS, Detail
from pipelines.page.distribution import Scale, axis, bars
from pipelines.page.figures import Distribution, Figures
from pipelines.page.opened import Group, OpenedSet
from pipelines.page.order import by_similarity
from pipelines.shards import FinishedVariant
from pipelines.style.stages import ALL_LOOKS
from pipelines.style.template import breaking, rendered
from pipelines.text import number_of, size
from pipelines.wording import wording

# Bytes of a page, at most.
LARGEST = 5_000_000
# The element that identifies what a page was made of.
STAMP = '<meta name="sysnoise-set" content="{}">'
_HERE = Path(__file__).parent
_SCRIPT = (_HERE / "page.js").read_text(encoding="utf-8")
# Colours of a matrix.
_COLOURS = 24
# With more groups than this, a matrix's numbers have no room in its cells.
ROOM_FOR_NUMBERS = 24
# The most bytes of all maps, and the largest side of one in pixels.
_ROOM_FOR_MAPS, _LARGEST_MAP = 900_000, 256


class Page(NamedTuple):
    """What a page shows: a set, what its tables say, and what was measured on `measured` samples."""

    set: OpenedSet
    figures: Figures
    measured: int
    apart: Apart
    details: Sequence[Detail]
    stamp: str

    def distribution(self, variant: FinishedVariant) -> Distribution:
        """The distribution of a variant's residuals."""
        return self.figures.distributions[self.set.group_of(variant.name).name]


class Cell(NamedTuple):
    """A cell of the matrix: its number as text, and the step of its colour; None if nothing can be compared."""

    text: str
    step: int | None


class Map(NamedTuple):
    """A map of differences as a data URI, its size in pixels, and the mean and largest value in it."""

    group: Group
    uri: str
    width: int
    height: int
    mean: float
    largest: float


def html(page: Page) -> bytes:
    """The page, in UTF-8."""
    of = page.set
    summary = of.variants[0].summary
    words = wording(of.shards.dataset)
    samples = sum(summary["totals"][name] for name in ("samples", "failed"))
    scale = Scale.of(page.figures.distributions.values())
    order = by_similarity(page.apart.distances)
    given = {
        "title": of.shards.dataset,
        "stamp": Markup(STAMP.format(page.stamp)),
        "set": of,
        "dataset": of.shards.dataset,
        "words": words,
        "measure": of.measure,
        "summary": summary,
        "made": words.made_of(of.shards.dataset, split_of(summary["config"])).replace("`", ""),
        "about": words.about(summary).replace("`", ""),
        "samples": samples,
        "bytes": sum(variant.summary["totals"]["bytes"] for variant in of.variants),
        "figures": page.figures,
        "lacking": samples - len(page.figures.keys),
        "sections": list(of.by_stage()),
        "bars": lambda variant: bars(page.distribution(variant), scale, of.stage(variant)),
        "axis": axis(scale),
        "distribution": page.distribution,
        "looks": ALL_LOOKS,
        "measured": page.measured,
        "order": [of.groups[place] for place in order],
        "matrix": _matrix(page.apart.distances[np.ix_(order, order)]),
        "numbers": len(order) <= ROOM_FOR_NUMBERS,
        "steps": [(f"#{bytes(colour).hex()}", ink_on(colour)) for colour in colours(_COLOURS)],
        "maps": list(_maps(page, order)) if page.details or page.measured >= FEWEST else [],
        "details": page.details,
        "choices": list(_choices(of)),
        "pair": _farthest(page),
        "data": _data(page, order),
        "script": Markup(_SCRIPT),
        "script_sha256": base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode(),
        "libraries": _libraries(of.variants),
    }
    filters = {
        "breaking": breaking,
        "figure": figure,
        "number_of": number_of,
        "size": size,
        "share": lambda part, whole: f"{part / whole:.2%}",
    }
    return rendered(_HERE / "page.html", filters, given).encode()


def figure(value: float | None) -> str:
    """A difference to two or three digits; a dash for None."""
    if value is None or not np.isfinite(value):
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def _matrix(distances: NDArray[np.float64]) -> list[list[Cell]]:
    """The cells of a matrix, coloured by the logarithm of the distance."""
    known = distances[np.isfinite(distances) & (distances > 0)]
    low, high = (np.log(known.min()), np.log(known.max())) if known.size else (0.0, 0.0)

    def step(value: float) -> int | None:
        if not np.isfinite(value):
            return None
        if value <= 0:
            return 0
        return round(float((_COLOURS - 1) * (np.log(value) - low) / ((high - low) or 1)))

    return [[Cell(figure(value), step(value)) for value in row] for row in distances]


def _maps(page: Page, order: Sequence[int]) -> Iterator[Map]:
    """The maps in this order, as large as they fit."""
    there = [(page.set.groups[place], page.apart.maps[place]) for place in order]
    maps = [(group, values) for group, values in there if values is not None]
    for side in (_LARGEST_MAP, _LARGEST_MAP // 2, _LARGEST_MAP // 4):
        drawn = [Map(group, *_drawn(values, side), float(values.mean()), float(values.max())) for group, values in maps]
        if sum(len(one.uri) for one in drawn) <= _ROOM_FOR_MAPS:
            break
    yield from drawn


def _drawn(values: NDArray[np.float32], side: int) -> tuple[str, int, int]:
    """A map as a data URI, reduced by a whole factor to at most this side, with its width and height."""
    factor = -(-max(values.shape) // side)
    height, width = (max(length // factor, 1) for length in values.shape)
    reduced = values if factor == 1 else cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    buffer = io.BytesIO()
    coloured(reduced).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}", width, height


def _choices(of: OpenedSet) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """The variants that can be compared, by their stage's title: each with its group's place."""
    place = {name: index for index, group in enumerate(of.groups) for name in group.names}
    if reference := [(variant.name, place[variant.name]) for variant in of.variants if not of.stage(variant)]:
        yield "Reference", reference
    for stage, variants in of.by_stage():
        yield ALL_LOOKS[stage].title, [(variant.name, place[variant.name]) for variant in variants]


def _farthest(page: Page) -> tuple[str, str]:
    """The first variant, and the one that is farthest from it."""
    groups = page.set.groups
    return groups[0].name, groups[int(np.nan_to_num(page.apart.distances[0]).argmax())].name


def _data(page: Page, order: Sequence[int]) -> Markup:
    """What the script needs, as JSON that cannot end its element."""
    data = {
        "names": [group.name for group in page.set.groups],
        "order": order,
        "measure": page.set.measure.heading,
        "steps": STEPS,
        "details": [detail.for_script for detail in page.details],
    }
    return Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))


def _libraries(variants: Sequence[FinishedVariant]) -> list[tuple[str, str]]:
    """The versions of all libraries that any variant went through."""
    versions: dict[str, str] = {}
    for variant in variants:
        versions |= variant.summary["provenance"]["libraries"]
    return sorted(versions.items(), key=lambda item: item[0].lower())
