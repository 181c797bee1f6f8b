"""Means, maxima and the step-by-step worst case, on tables with known answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from generators.registry import METHODS, STAGES
from pipelines.evaluate.results import Line, summarise
from pipelines.evaluate.steps import in_paper_order, worst_first

REFERENCE: dict[str, str] = {**dict.fromkeys(map(str, STAGES), "none"), "decode": "pil", "resize": "pil_bilinear"}


def line(delta: float, stages: Mapping[str, str], degenerate: bool = False, unchanged: bool = False) -> Line:
    return Line(
        name="+".join(stages.values()) or "pil_bilinear",
        stages={**REFERENCE, **stages},
        changed=tuple(stages),
        figures={"top1": 70 - delta},
        delta=delta,
        ci95=(delta - 1, delta + 1),
        p=0.5,
        p_holm=1.0,
        lost=0,
        gained=0,
        degenerate=degenerate,
        unchanged=unchanged,
        mean_residual=1.0,
        lost_at=np.zeros(0, np.int64),
        basis=np.zeros(0),
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
    }


def test_the_stage_that_hurts_most_is_added_first_and_what_is_missing_is_named() -> None:
    found = worst_first(SINGLES, REFERENCE)
    assert [(s.stage, s.method, s.variant) for s in found.steps] == [("resize", "pil_nearest", "pil_nearest")]
    assert found.missing == ["ffmpeg+pil_nearest", "pil_nearest+nv12_ascend"]


@pytest.mark.parametrize("seed", range(20))
def test_every_step_is_the_worst_possible(seed: int) -> None:
    """Compared with a search over all orders in which stages can be added."""
    random = np.random.default_rng(seed)
    worst = {
        "decode": "ffmpeg",
        "resize": "pil_nearest",
        "color": "nv12_ascend",
        "pool": "ceil_mode",
        "boxes": "box_round",
    }
    every = [
        line(float(random.normal()), {stage: worst[stage] for stage, used in zip(worst, chosen, strict=True) if used})
        for chosen in product((False, True), repeat=len(worst))
        if any(chosen)
    ]
    found = worst_first(every, REFERENCE)
    assert not found.missing
    left, before = list(worst), set[str]()
    for step in found.steps:
        candidates = {s: next(x for x in every if set(x.changed) == before | {s}).delta for s in left}
        (made,) = (one.delta for one in every if one.name == step.variant)
        assert made == max(candidates.values()) == candidates[step.stage]
        left.remove(step.stage)
        before.add(step.stage)
    assert not left


def test_a_stage_whose_methods_change_nothing_is_not_a_step() -> None:
    unchanged = line(0.0, {"pool": "floor_mode"}, unchanged=True)
    for chain in (worst_first, in_paper_order):
        found = chain([SINGLES[0], SINGLES[3], unchanged], REFERENCE)
        assert [step.stage for step in found.steps] == ["resize"]
        assert not found.missing


MODEL = [
    line(0.1, {"pool": "ceil_mode"}),
    line(3.0, {"precision": "int8_tensor"}),
    line(0.4, {"precision": "int8"}),
    line(0.2, {"boxes": "box_offset"}),
]


def test_the_paper_s_chain_has_its_order_and_its_int8() -> None:
    found = in_paper_order([*SINGLES, *MODEL], REFERENCE)
    names = [
        "ffmpeg+pil_nearest",
        "ffmpeg+pil_nearest+nv12_ascend",
        "ffmpeg+pil_nearest+nv12_ascend+int8",
        "ffmpeg+pil_nearest+nv12_ascend+ceil_mode+int8",
        "ffmpeg+pil_nearest+nv12_ascend+ceil_mode+int8+box_offset",
    ]
    assert [step.variant for step in found.steps] == ["ffmpeg"]
    assert found.missing == names
    made = [line(1.0, {METHODS[token].stage: token for token in name.split("+")}) for name in names]
    found = in_paper_order([*SINGLES, *MODEL, *made], REFERENCE)
    assert [step.variant for step in found.steps] == ["ffmpeg", *names]
    assert [step.stage for step in found.steps] == ["decode", "resize", "color", "precision", "pool", "boxes"]
    assert not found.missing


def test_without_int8_the_paper_s_chain_takes_the_worst_precision() -> None:
    found = in_paper_order([line(0.1, {"precision": "fp16"}), MODEL[1]], REFERENCE)
    assert [step.method for step in found.steps] == ["int8_tensor"]


SHARP = {"decode": "sharp_lanczos3", "resize": "sharp_lanczos3"}


def whole(delta: float, stages: Mapping[str, str] = {}) -> Line:
    """The line of a variant that decodes and resizes in one step."""
    name = "+".join(["sharp_lanczos3", *stages.values()])
    return replace(line(delta, {**SHARP, **stages}), name=name, changed=("resize", *stages))


def test_the_worst_way_to_resize_leaves_no_decoder_where_it_decodes_itself() -> None:
    lines = [*SINGLES, whole(9.0), line(1.0, {"color": "nv12_opencv"}), whole(9.5, {"color": "nv12_opencv"})]
    for chain in (worst_first, in_paper_order):
        found = chain(lines, REFERENCE)
        assert [(s.stage, s.method, s.variant) for s in found.steps] == [
            ("resize", "sharp_lanczos3", "sharp_lanczos3"),
            ("color", "nv12_opencv", "sharp_lanczos3+nv12_opencv"),
        ]
        assert found.missing == []
    assert summarise(lines)["resize"].worst == "sharp_lanczos3"
    milder = [*SINGLES, whole(3.0), line(5.0, {"decode": "ffmpeg", "resize": "pil_nearest"})]
    assert [step.variant for step in in_paper_order(milder, REFERENCE).steps] == ["ffmpeg", "ffmpeg+pil_nearest"]
