"""A report as comparisons need it: its figures from `results.json`, and the outcomes next to it.

Reports may come from anybody and from any version: newer fields that are missing are None, and a file that cannot be a
report is refused.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from generators.registry import PIXEL_STAGES, STAGES
from generators.variant import NONE, changed
from manifests.canonical import digest
from pipelines.errors import UsageError
from pipelines.evaluate.outcomes import OUTCOMES, Outcomes, read_outcomes
from pipelines.evaluate.report.words import METRICS
from pipelines.store import Place, place_of
from pipelines.text import first_line

RESULTS = "results.json"
# Bytes: a report of 2,000 variants takes 2 MB.
_LARGEST = 2**26
# Points by which a report's figures may differ from its outcomes, which are float32.
_NEAR = 0.01
# Defaults for fields that the first reports lacked.
_LATER: Mapping[str, Any] = {
    **{"combined": None, "paper_steps": [], "not_applicable": {}, "missing": {"variants": []}, "left_out": 0},
}
_CALLED = {**METRICS, "map segm": "mask mAP"}


@dataclass(frozen=True)
class Line:
    """One variant: `value` and `delta` in points, `changed` the stages at which it differs from the reference."""

    name: str
    stages: Mapping[str, str]
    changed: tuple[str, ...]
    value: float
    delta: float
    ci95: tuple[float, float]
    p: float
    p_holm: float
    degenerate: bool
    unchanged: bool

    @property
    def same(self) -> bool:
        """Whether it changes nothing, as in a report."""
        return self.degenerate or (self.unchanged and not set(self.changed) & set(PIXEL_STAGES))


@dataclass(frozen=True)
class Report:
    """One model's report; `name` is unique among the compared ones, `given` is the path as the user typed it.

    `set` has the digests of what was scored (`pipelines.evaluate.evidence`); `parameters`, `bytes` and `sha256` are the
    model's. They are None if the report does not record them.
    """

    name: str
    given: str
    folder: Place
    raw: Mapping[str, Any]
    lines: Mapping[str, Line]

    @property
    def dataset(self) -> str:
        return str(self.raw["dataset"])

    @property
    def metric(self) -> str:
        return str(self.raw["metric"])

    @property
    def metric_called(self) -> str:
        """The metric's display name: `top-1`, or `mask mAP` if masks are scored."""
        return _CALLED.get(f"{self.metric} {self.raw.get('iou_type')}", _CALLED[self.metric])

    @property
    def count(self) -> int:
        """How many images were scored."""
        return int(self.raw["n"])

    @property
    def reference(self) -> Line:
        return self.lines[str(self.raw["reference"])]

    @property
    def combined(self) -> Line | None:
        found = self.raw["combined"]
        return self.lines[found["variant"]] if found else None

    @property
    def not_applicable(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.raw["not_applicable"]
        return found

    @property
    def set(self) -> Mapping[str, Any] | None:
        return self.raw.get("set")

    @property
    def parameters(self) -> int | None:
        return self.raw.get("parameters")

    @property
    def bytes(self) -> int | None:
        return self.raw.get("bytes")

    @property
    def sha256(self) -> str | None:
        return self.raw.get("sha256")

    @cached_property
    def outcomes(self) -> Outcomes | None:
        """The outcomes that it keeps, or None. Raises UsageError if they belong to another report."""
        found = read_outcomes(self.folder)
        if found is not None:
            _check_outcomes(self, found)
        return found

    def basis(self, line: Line) -> NDArray[Any] | None:
        """A variant's outcomes; None if none are kept."""
        return self.outcomes.variants.get(line.name) if self.outcomes else None


def read_report(given: str) -> Report:
    """The report at a path or URI: a folder, or a `results.json`. Raises UsageError if there is none."""
    place = place_of(given, "REPORT")
    if place.suffix != ".json" or place.is_dir():  # a folder may have that name, as a model's
        place = place / RESULTS
    try:
        raw = json.loads(place.read(_LARGEST), parse_constant=_no_number)
        _check_images(raw, place)
        return _parsed(raw, given, place.parent)
    except FileNotFoundError:
        raise UsageError(f"{place} does not exist: give folders that score.py wrote reports to") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else first_line(error)
        raise UsageError(f"{place} cannot be read as a report of score.py ({why})") from None


def _check_images(raw: Any, place: Place) -> None:
    of_speech = raw.get("metric") == "mse"
    if of_speech or "tasks" in raw:
        what = "speech" if of_speech else "text"
        raise UsageError(f"{place} is a report on {what}, but only reports on images can be compared")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _parsed(raw: Any, given: str, folder: Place) -> Report:
    raw |= {name: value for name, value in _LATER.items() if name not in raw}
    base = _stages(raw["variants"][raw["reference"]])
    if raw["metric"] not in METRICS:
        raise ValueError(f"its metric is {raw['metric']!r}")
    lines = {name: _line(name, found, base, raw["metric"]) for name, found in raw["variants"].items()}
    report = Report(" ".join(str(raw["model"]).split()), given, folder, raw, lines)
    _check(report)
    return report


def _check(report: Report) -> None:
    """Raises ValueError, TypeError or KeyError if a field that is read later is missing or of the wrong kind."""
    raw = report.raw
    _ = report.combined, report.count, report.dataset, raw["geometry"]["name"], int(raw["left_out"])
    _ = dict(report.not_applicable), list(raw["missing"]["variants"]), [step["stage"] for step in raw["paper_steps"]]
    for name in ("parameters", "bytes"):
        if raw.get(name) is not None and type(raw[name]) is not int:
            raise ValueError(f"its {name} are {raw[name]!r}")
    if report.set is not None:
        _ = dict(report.set["manifests"]), dict(raw["scored_with"]), raw["sha256"]
        _ = [report.set[name] for name in ("keys_sha256", "images_sha256", "truth_sha256", "config_sha256")]


def _line(name: str, found: Mapping[str, Any], base: Mapping[str, str], metric: str) -> Line:
    low, high = map(_figure, found["ci95"])
    return Line(
        name=name,
        stages=_stages(found),
        changed=changed(_stages(found), base),
        value=_figure(found[metric]),
        delta=_figure(found["delta"]),
        ci95=(low, high),
        p=_figure(found["p"]),
        p_holm=_figure(found["p_holm"]),
        degenerate=bool(found["degenerate"]),
        unchanged=bool(found.get("unchanged", False)),
    )


def _stages(found: Mapping[str, Any]) -> Mapping[str, str]:
    """The token of each stage; early reports lack the model's stages."""
    return {**dict.fromkeys(STAGES, NONE), **found["stages"]}


def _figure(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _check_outcomes(report: Report, found: Outcomes) -> None:
    """Raises UsageError unless the outcomes are complete, and agree with the report's figures and images."""
    base = found.variants.get(report.reference.name)
    keys = found.keys
    if keys is not None and (len(keys) != report.count or (report.set and digest(keys) != report.set["keys_sha256"])):
        raise UsageError(
            f"{report.folder / OUTCOMES} has other images than the {RESULTS} next to it: score the model again"
        )
    kept = {line.name for line in report.lines.values() if len(line.changed) == 1 or line is report.combined}
    for name in sorted(kept | {*found.variants}):
        line, values = report.lines.get(name), found.variants.get(name)
        if line is None or values is None or base is None or not _agree(line, base, values, is_hit=keys is not None):
            raise UsageError(
                f"{report.folder / OUTCOMES} does not belong to the {RESULTS} next to it ({name} differs): score the "
                "model again"
            )


def _agree(line: Line, base: NDArray[Any], values: NDArray[Any], *, is_hit: bool) -> bool:
    if is_hit:
        mine, theirs = [100 * values.mean()], [line.value]
    else:
        differences = (base - values)[np.isfinite(base - values)]
        mine, theirs = list(100 * np.quantile(differences, [0.025, 0.975])), list(line.ci95)
    return bool(np.allclose(mine, theirs, rtol=0, atol=_NEAR))


def with_unique_names(reports: Sequence[Report]) -> list[Report]:
    """The reports with unique names: the user's path is added to a name that several have.

    Raises UsageError if two are the same report.
    """
    for place, report in enumerate(reports):
        for other in reports[:place]:
            if (report.name, report.raw["variants"]) == (other.name, other.raw["variants"]):
                raise UsageError(
                    f"{other.given} and {report.given} have the same figures for {report.name}: give only one"
                )
    counts = Counter(report.name for report in reports)
    folders = Counter(report.folder.name for report in reports)

    def own(report: Report) -> str:
        if counts[report.name] == 1:
            return report.name
        return f"{report.name} ({report.folder.name if folders[report.folder.name] == 1 else report.given})"

    return [replace(report, name=own(report)) for report in reports]
