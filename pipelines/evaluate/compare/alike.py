"""May these reports be compared? Only those of the same images, with the same ground truth and the same reference.

What the images were resized to is each model's own. A report of a version that did not say which images it scored is
taken where the predictions that lie beside it have the same keys, with a note; else it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.canonical import digest
from pipelines.errors import UsageError
from pipelines.evaluate.compare.report import Report
from pipelines.store import Place

_AGAIN = "score it again with the same command, which takes its predictions as they are"


def check_alike(reports: Sequence[Report]) -> list[str]:
    """Notes on what cannot be proved. Raises UsageError that says which reports differ, and how."""
    first = next((report for report in reports if report.set), reports[0])
    others = [report for report in reports if report is not first]
    for report in others:
        _check_said(first, report)
        _check_images(first, report)
    return [note for report in reports if len(reports) > 1 and not report.set for note in _unproved(report)]


def _check_said(one: Report, other: Report) -> None:
    """Compare what reports of all versions say."""
    said: dict[str, Callable[[Report], str]] = {
        "dataset": lambda report: report.dataset,
        "metric": lambda report: report.metric_called,
        "reference": lambda report: _in_full(report.reference.stages),
        "number of images": lambda report: f"{report.count:,}",
        "number of samples left out": lambda report: f"{report.raw['left_out']:,}",
    }
    for what, of in said.items():
        if (mine := of(one)) != (theirs := of(other)):
            raise UsageError(
                f"{one.given} and {other.given} cannot be compared: the {what} is {mine} in the first, {theirs} in the "
                "second"
            )


def _in_full(stages: Mapping[str, str]) -> str:
    """A reference spelled out, since names leave out what is usual."""
    return "+".join(token for token in stages.values() if token != "none")


def _check_images(one: Report, other: Report) -> None:
    if one.set and other.set:
        for what, field in (("images", "images_sha256"), ("ground truth", "truth_sha256")):
            if one.set[field] != other.set[field]:
                raise UsageError(
                    f"{one.given} and {other.given} are of other {what}, and cannot be compared{_how(one, other, what)}"
                )
        return
    known = one.set["keys_sha256"] if one.set else _keys_sha256(one)
    if known is None or known != _keys_sha256(other):
        silent = other if not other.set else one
        raise UsageError(
            f"{silent.given} is of an earlier version and does not say which images it scored, so that it cannot be "
            f"compared: {_AGAIN}"
        )


def _how(one: Report, other: Report, what: str) -> str:
    """How images differ, where reports keep their keys."""
    mine, theirs = (report.outcomes and report.outcomes.keys for report in (one, other))
    if what != "images" or not mine or not theirs:
        return ""
    alone = sorted(set(mine) - set(theirs))
    if not alone:
        return ": their keys are the same, and their files differ"
    return f": {len(alone):,} of {len(mine):,} are in {one.given} alone (first: {alone[0]})"


def _keys_sha256(report: Report) -> str | None:
    """The digest of the keys that the predictions beside an earlier version's report have; None where it has none.

    Only tables of classes name every image that was scored.
    """
    place = report.folder / "predictions" / f"{report.reference.name}.parquet"
    keys = _keys(place)
    return digest(keys) if keys is not None and len(keys) == report.count else None


def _keys(place: Place) -> list[str] | None:
    try:
        with place.open() as file:
            found: list[str] = sorted(pq.read_table(file, columns=["key"])["key"].to_pylist())
            return found
    except (OSError, KeyError, TypeError, pa.ArrowException):
        return None


def _unproved(report: Report) -> Iterator[str]:
    yield (
        f"{report.name} is of an earlier version: its images have the others' names, and that they are the same files "
        f"is not proved; {_AGAIN}."
    )
