"""Advice, against a brute-force search with statsmodels' tests on every pair."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from generators.registry import STAGES
from pipelines.evaluate.advice import advise
from pipelines.evaluate.classification import Classification
from pipelines.evaluate.statistics import Comparison
from pipelines.evaluate.task import Score

REFERENCE = {**dict.fromkeys(map(str, STAGES), "none"), "decode": "pil", "resize": "pil_bilinear"}
LIBRARIES = {
    ("Pillow", "decode"): ["pil"],
    ("OpenCV", "decode"): ["opencv", "opencv_exif"],
    ("Pillow", "resize"): ["pil_bilinear", "pil_nearest", "pil_box", "pil_lanczos"],
    ("OpenCV", "resize"): ["opencv_nearest", "opencv_area", "opencv_bilinear"],
    ("DALI", "resize"): ["dali_linear"],
    ("Pillow 9.5.0", "resize"): ["pil_bilinear-9.5.0", "pil_box-9.5.0"],
    ("Pillow 12.3.0", "resize"): ["pil_box-12.3.0"],
    ("of_others", "resize"): ["of_others"],
    ("NumPy", "color"): ["nv12_ascend", "yuv444_float", "nv12_full"],
}


class Line(NamedTuple):
    """The part of a result that advice needs."""

    name: str
    stages: dict[str, str]
    changed: tuple[str, ...]
    delta: float
    same: bool = False


def _line(name: str, changed: dict[str, str], hits: NDArray[np.bool_], base: NDArray[np.bool_]) -> Line:
    return Line(name, {**REFERENCE, **changed}, tuple(changed), 100 * float(base.mean() - hits.mean()))


def _drawn(seed: int, count: int) -> dict[str, NDArray[np.bool_]]:
    """Hits of the reference and of every method; some methods are much worse, some the same."""
    random = np.random.default_rng(seed)
    base = random.random(count) < 0.7
    found = {}
    for members in LIBRARIES.values():
        for token in members:
            flipped = random.random(count) < random.choice([0.0, 0.02, 0.1, 0.3])
            found[token] = base if token in REFERENCE.values() else base ^ flipped
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_cheapest_method_and_those_as_cheap(seed: int) -> None:
    hits = _drawn(seed, 300)
    base = hits["pil"]
    reference = _line("pil_bilinear", {}, base, base)
    stage_of = {token: stage for (_, stage), members in LIBRARIES.items() for token in members}
    own = [token for token in hits if token not in REFERENCE.values()]
    lines = [_line(token, {stage_of[token]: token}, hits[token], base) for token in own]
    # Several stages at once, and noise in the model, belong to no library.
    both = {"decode": "opencv", "resize": "pil_box"}
    lines += [_line("opencv+pil_box", both, base, base), _line("int8", {"precision": "int8"}, base, base)]
    nothing = Comparison(0.0, 0.0, 0.0, 1.0)
    scores = {
        line.name: Score({"top1": 0.0}, nothing, np.zeros(0, np.int64), 0, hits.get(line.name, base))
        for line in (reference, *lines)
    }
    task = object.__new__(Classification)  # `between` does not use it
    found = {(one.library, one.stage): one for one in advise(lines, reference, scores, task)}
    assert set(found) == set(LIBRARIES)
    for place, members in LIBRARIES.items():
        costs = {token: 100 * (base.mean() - hits[token].mean()) for token in members}
        best, alike = found[place].method, []
        assert found[place].delta == pytest.approx(min(costs.values())) == costs[best]
        others = [token for token in members if token != best]
        assert sorted(found[place].others) == sorted(others)
        if others:
            p_values = [_mcnemar(hits[best], hits[token]) for token in others]
            rejected = multipletests(p_values, method="holm")[0]
            alike = [token for token, is_worse in zip(others, rejected, strict=True) if not is_worse]
        assert sorted(found[place].alike) == sorted(alike)


def _mcnemar(mine: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> float:
    table = [[np.sum(mine & theirs), np.sum(mine & ~theirs)], [np.sum(~mine & theirs), np.sum(~mine & ~theirs)]]
    return float(mcnemar(table, exact=True).pvalue)


def test_no_advice_on_absent_stages_and_unscored_libraries() -> None:
    base = np.ones(10, bool)
    reference = Line("pil", {**REFERENCE, "resize": "none"}, (), 0.0)
    scores = {"pil": Score({"top1": 1.0}, Comparison(0, 0, 0, 1), np.zeros(10, np.int64), 0, base)}
    (only,) = advise([], reference, scores, object.__new__(Classification))
    assert (only.library, only.stage, only.method, only.delta) == ("Pillow", "decode", "pil", 0.0)
    assert not only.others
    assert not only.alike
