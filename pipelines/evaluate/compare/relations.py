"""Does a larger, or a better, model suffer less? Δ against accuracy, parameters and size, with rank correlations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.evaluate.compare.report import Report
from pipelines.evaluate.compare.table import Table
from pipelines.style.stages import COMBINED

# With fewer models, no ordering of ranks is rarer than 5%.
_FEWEST = 5
# A ratio of the largest to the smallest size above this gets a logarithmic axis.
_SPAN = 4
# All orderings of up to seven models are tested; for more models, this many are drawn.
_ORDERS = 9_999


@dataclass(frozen=True)
class Relation:
    """Δ of the combined noise (y) against `what` (x), by model; the x axis may be `logarithmic`.

    `rho` is Spearman's rank correlation and `p` its permutation test's p-value; None if models are too few, or equal.
    """

    what: str
    title: str
    points: Mapping[str, tuple[float, float]]
    logarithmic: bool
    rho: float | None
    p: float | None


def relations_of(table: Table) -> list[Relation]:
    """The relations in which at least two models have a point."""
    found = []
    for what, (title, value, logarithmic) in _AGAINST.items():
        rows = [row for row in table.rows if COMBINED in row.cells and value(row.report) is not None]
        points = {row.report.name: (float(value(row.report)), row.cells[COMBINED].mean) for row in rows}
        if len(points) > 1:
            sizes = [x for x, _ in points.values()]
            spans = logarithmic and max(sizes) > _SPAN * min(sizes)
            found.append(Relation(what, title, points, spans, *_spearman(list(points.values()))))
    return found


_AGAINST: Mapping[str, tuple[str, Callable[[Report], Any], bool]] = {
    "accuracy": ("reference's figure", lambda report: report.reference.value, False),
    "parameters": ("parameters, millions", lambda report: _over(report.parameters, 1e6), True),
    "bytes": ("size of the model's file, MB", lambda report: _over(report.bytes, 1e6), True),
}


def _over(value: int | None, unit: float) -> float | None:
    return value / unit if value else None


def _spearman(points: Sequence[tuple[float, float]]) -> tuple[float | None, float | None]:
    from scipy import stats  # takes a second to import

    x, y = np.array(points).T
    if len(points) < _FEWEST or len(set(x.tolist())) == 1 or len(set(y.tolist())) == 1:
        return None, None
    rho = float(stats.spearmanr(x, y).statistic)
    # Ranks are fixed; the test permutes how they are paired.
    ranks, others = stats.rankdata(x), stats.rankdata(y)
    tested = stats.permutation_test(
        (ranks,),
        lambda one: float(np.corrcoef(one, others)[0, 1]),
        permutation_type="pairings",
        n_resamples=_ORDERS,
        rng=np.random.default_rng(0),
    )
    return rho, float(tested.pvalue)
