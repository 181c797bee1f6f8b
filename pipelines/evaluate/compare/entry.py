"""A row of a leaderboard: the publishable part of a report, what made it, and the digests of its predictions.

Only figures and names are published. A report's pictures show images that are not ours to give away, its notes and
commands name files of the machine that made it, and its pages have both: none of these is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from manifests.canonical import digest
from manifests.untrusted import LARGEST_JSON
from pipelines.errors import UsageError
from pipelines.evaluate.compare.report import RESULTS, Report
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.outcomes import OUTCOMES
from pipelines.evaluate.predictions import ABOUT, TABLES
from pipelines.store import Place

ENTRY = "entry.json"
# The fields of a report's `results.json` that a row's has.
FIELDS = (
    *("model", "dataset", "geometry", "reference", "metric", "iou_type", "unit", "n", "left_out", "counted"),
    *("variants", "stages", "steps", "paper_steps", "combined", "not_applicable", "same_pixels"),
    *("parameters", "bytes", "sha256", "set", "scored_with"),
)
_LONGEST_REASON = 120
# A path of someone's machine, or a URI.
_PATH = re.compile(r"(?:^|[\s'\"(=])(?:[A-Za-z]:\\|~?/[\w.-]+/|\w+://)")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """`results` and `outcomes` are the contents of files, `predictions` the sha256 of each variant's predictions.

    `made_by` says what made the predictions (`pipelines.evaluate.model.kept`). Both are None if the predictions were
    not next to the report. `checked` is whether the figures were reproduced from the predictions.
    """

    name: str
    results: Mapping[str, Any]
    outcomes: bytes
    made_by: Mapping[str, Any] | None
    predictions: Mapping[str, str] | None
    checked: bool

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip(".-") or "model"

    def about(self) -> dict[str, Any]:
        """The content of `entry.json`."""
        return {"checked": self.checked, "made_by": self.made_by, "predictions": self.predictions}


def entry_of(report: Report, predictions: Place) -> Entry:
    """A report's row, unchecked. Raises UsageError if it does not record its images, or keeps no outcomes."""
    if not report.set or report.outcomes is None:
        raise UsageError(
            f"{report.given} was made by an earlier version, and cannot be published: score it again with the same "
            "command, which reuses its predictions"
        )
    outcomes = (report.folder / OUTCOMES).read(LARGEST_JSON)
    results = published({**report.raw, "model": report.name})
    there = predictions.is_dir()
    made_by = _made_by(report, predictions) if there else None
    digests = dict(_digests(report, predictions)) if there else None
    return Entry(report.name, results, outcomes, made_by, digests, checked=False)


def read_entry(folder: Place, report: Report) -> Entry:
    """A row that was published."""
    place = folder / ENTRY
    try:
        about = json.loads(place.read(LARGEST_JSON))
        made_by, predictions, checked = about["made_by"], about["predictions"], bool(about["checked"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{place} cannot be read: publish the folder again") from None
    return Entry(report.name, report.raw, (folder / OUTCOMES).read(LARGEST_JSON), made_by, predictions, checked)


def published(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The publishable part of a report's `results.json`."""
    kept = {name: raw[name] for name in FIELDS if name in raw}
    reasons = {str(token): _reason(str(why)) for token, why in kept["not_applicable"].items()}
    missing = {"variants": list(raw["missing"]["variants"]), "command": None, "commands": []}
    found = {**kept, "not_applicable": reasons, "missing": missing}
    _check_no_path(found)
    return found


def _check_no_path(value: Any) -> None:
    if path := next((text for text in _texts(value) if _PATH.search(text)), None):
        raise UsageError(f"{path!r} in the report names a place on someone's machine, and is not published")


def _reason(text: str) -> str:
    """Why something does not apply. The text of an error may name files, and is replaced."""
    return "it could not be scored" if _PATH.search(text) or len(text) > _LONGEST_REASON else text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield str(name)
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _made_by(report: Report, predictions: Place) -> dict[str, Any] | None:
    """What made the kept predictions. Raises UsageError if they belong to another report."""
    place = predictions / ABOUT
    try:
        about = json.loads(place.read(LARGEST_JSON))
        stated = set(about["preprocessing"]) <= {field.name for field in fields(Preprocessing)}
        same = stated and (about["model"], about["shards"]) == (report.sha256, (report.set or {})["config_sha256"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{place} cannot be read: score the model again") from None
    if not same:
        raise UsageError(f"{predictions} has predictions of another model, or of other shards, than {RESULTS} says")
    made_by = {name: value for name, value in about.items() if name not in ("variants", "failed")}
    _check_no_path(made_by)
    return made_by


def _digests(report: Report, predictions: Place) -> Iterator[tuple[str, str]]:
    """The sha256 of each variant's predictions; for a folder of label maps, of its files' digests by name."""
    contents = predictions.contents()
    files = {place.stem: place for name in contents.files if (place := predictions / name).suffix in TABLES}
    for name in report.lines:
        if name in files:
            yield name, _sha256(files[name])
        elif name in contents.folders:
            maps = predictions / name
            yield name, digest({file: _sha256(maps / file) for file in maps.files()})
        else:
            raise UsageError(f"{predictions} has no predictions of {name}, but the report has its score")


def _sha256(place: Place) -> str:
    found = hashlib.sha256()
    with place.open() as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
