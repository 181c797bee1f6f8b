"""Checks that reports can be compared: they need the same images, the same ground truth and the same reference.

Models may resize the images differently. A report of an early version, which does not record its images, is accepted
with a note if the predictions next to it have the same keys, and refused otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.canonical import digest
from pipelines.errors import UsageError
from pipelines.evaluate.compare.report import Report
from pipelines.store import Place

_AGAIN = "score it again with the same command, which reuses its predictions"


def check_alike(reports: Sequence[Report]) -> list[str]:
    """Notes on what cannot be verified. Raises UsageError that says which reports differ, and how."""
    first = next((report for report in reports if report.set), reports[0])
    others = [report for report in reports if report is not first]
    for report in others:
        _check_fields(first, report)
        _check_images(first, report)
    return [note for report in reports if len(reports) > 1 and not report.set for note in _unproved(report)]


def _check_fields(one: Report, other: Report) -> None:
    """Compare the fields that reports of all versions have."""
    fields: dict[str, Callable[[Report], str]] = {
        "dataset": lambda report: report.dataset,
        "metric": lambda report: report.metric_called,
        "reference": lambda report: _in_full(report.reference.stages),
        "number of images": lambda report: f"{report.count:,}",
        "number of samples left out": lambda report: f"{report.raw['left_out']:,}",
    }
    for what, of in fields.items():
        if (mine := of(one)) != (theirs := of(other)):
            raise UsageError(
                f"{one.given} and {other.given} cannot be compared: the {what} is {mine} in the first, {theirs} in the "
                "second"
            )


def _in_full(stages: Mapping[str, str]) -> str:
    """A reference spelled out, since names leave out defaults."""
    return "+".join(token for token in stages.values() if token != "none")


def _check_images(one: Report, other: Report) -> None:
    if one.set and other.set:
        for what, field in (("images", "images_sha256"), ("ground truth", "truth_sha256")):
            if one.set[field] != other.set[field]:
                raise UsageError(
                    f"{one.given} and {other.given} cannot be compared: their {what} differ{_how(one, other, what)}"
                )
        return
    known = one.set["keys_sha256"] if one.set else _keys_sha256(one)
    if known is None or known != _keys_sha256(other):
        silent = other if not other.set else one
        raise UsageError(
            f"{silent.given} was made by an earlier version, which does not record the scored images, and cannot be "
            f"compared: {_AGAIN}"
        )


def _how(one: Report, other: Report, what: str) -> str:
    """How images differ, if both reports keep their keys."""
    mine, theirs = (report.outcomes and report.outcomes.keys for report in (one, other))
    if what != "images" or not mine or not theirs:
        return ""
    alone = sorted(set(mine) - set(theirs))
    if not alone:
        return " (same keys, different files)"
    return f" ({len(alone):,} of {len(mine):,} are only in {one.given}, first {alone[0]})"


def _keys_sha256(report: Report) -> str | None:
    """The digest of the keys in the predictions next to an earlier version's report; None if there are none.

    Only tables of classes have every scored image.
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
        f"{report.name} was made by an earlier version: its images have the same names as the others', but may be "
        f"different files; {_AGAIN}."
    )
