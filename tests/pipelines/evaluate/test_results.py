"""Means, maxima and the step-by-step worst case, on tables whose answers are known."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest

from pipelines.evaluate.results import Line, summarise, worst_case

REFERENCE = {"decode": "pil", "resize": "pil_bilinear", "color": "none"}
STAGES = tuple(REFERENCE)


def line(delta: float, stages: Mapping[str, str], degenerate: bool = False) -> Line:
    methods = {**REFERENCE, **stages}
    name = "+".join(stages.values()) or "pil_bilinear"
    nothing = np.zeros(0, np.int64)
    interval = (delta - 1, delta + 1)
    return Line(
        name, methods, tuple(stages), {"top1": 70 - delta}, delta, interval, 0.5, 1.0, 0, 0, degenerate, 1.0, nothing
    )


SINGLES = [
    line(0.0, {"decode": "opencv"}, degenerate=True),
    line(0.5, {"decode": "ffmpeg"}),
    line(2.0, {"resize": "opencv_area"}),
    line(4.0, {"resize": "pil_nearest"}),
    line(-1.0, {"color": "nv12_ascend"}),
]


def test_a_stage_has_the_mean_and_the_max_of_its_other_methods() -> None:
    combined = [
        line(4.2, {"decode": "ffmpeg", "resize": "pil_nearest"}),
        line(1.0, {"decode": "ffmpeg", "color": "nv12_ascend"}),
    ]
    found = summarise([*SINGLES, *combined])
    assert {name: (s.mean, s.max, s.worst, s.methods) for name, s in found.items()} == {
        "decode": (0.25, 0.5, "ffmpeg", 2),
        "resize": (3.0, 4.0, "pil_nearest", 2),
        "color": (-1.0, -1.0, "nv12_ascend", 1),
        "combined": (2.6, 4.2, "ffmpeg+pil_nearest", 2),
    }


def test_the_stage_that_hurts_most_is_added_first_and_what_is_missing_is_named() -> None:
    steps, missing = worst_case(SINGLES, line(0.0, {}))
    assert [(s.stage, s.method, s.line.delta) for s in steps] == [("resize", "pil_nearest", 4.0)]
    assert missing == ["ffmpeg+pil_nearest", "pil_nearest+nv12_ascend"]


@pytest.mark.parametrize("seed", range(20))
def test_every_step_is_the_worst_that_there_is(seed: int) -> None:
    """Against a search over all orders in which stages can be added."""
    random = np.random.default_rng(seed)
    worst = {"decode": "ffmpeg", "resize": "pil_nearest", "color": "nv12_ascend"}
    every = [
        line(float(random.normal()), {stage: worst[stage] for stage, used in zip(STAGES, chosen, strict=True) if used})
        for chosen in product((False, True), repeat=3)
        if any(chosen)
    ]
    steps, missing = worst_case(every, line(0.0, {}))
    assert not missing
    left, before = list(STAGES), set[str]()
    for step in steps:
        candidates = {s: next(x for x in every if set(x.changed) == before | {s}).delta for s in left}
        assert step.line.delta == max(candidates.values()) == candidates[step.stage]
        left.remove(step.stage)
        before.add(step.stage)
    assert not left


def test_a_stage_without_a_method_that_changes_pixels_is_no_step() -> None:
    steps, missing = worst_case([SINGLES[0], SINGLES[3]], line(0.0, {}))
    assert [step.stage for step in steps] == ["resize"]
    assert not missing
