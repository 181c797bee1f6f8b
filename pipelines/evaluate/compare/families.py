"""Families of models: those that the user gives, or else those whose names start alike.

A name's family is the part before its first number: `resnet18.a1_in1k` and `resnet50` belong to `resnet`,
`squeezenet_v1.0` and `squeezenet1_1_224` to `squeezenet`. A family has at least two members.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pipelines.errors import UsageError
from pipelines.evaluate.compare.report import Report

Families = Mapping[str, Sequence[str]]

_BEGINNING = re.compile(r"([a-z][a-z_\-]*?)[_\-. ]*v?(?=\d)", re.IGNORECASE)


def families_of(reports: Sequence[Report], words: Sequence[str]) -> Families:
    """The members of each family, by its name. `words` are `NAME=REPORT,REPORT…`, or empty to group models by name.

    A report goes by the path that the user gave, or by its model's name. Raises UsageError for invalid words.
    """
    if not words:
        return _by_names(reports)
    named = [_named(reports, word) for word in words]
    found = dict(named)
    if len(found) < len(named):
        raise UsageError("--family: two have the same name: give all members in one, NAME=REPORT,REPORT…")
    return found


def _named(reports: Sequence[Report], word: str) -> tuple[str, list[str]]:
    name, equals, rest = word.partition("=")
    if not name or not equals or len(parts := rest.split(",")) < 2:
        raise UsageError(f"--family {word}: give NAME=REPORT,REPORT…, with at least two members")
    members = [_member(reports, part) for part in parts]
    if len(set(members)) < len(members):
        raise UsageError(f"--family {word}: give each member once")
    return name, members


def _member(reports: Sequence[Report], part: str) -> str:
    found = [report.name for report in reports if part == report.name or part.rstrip("/") == report.given.rstrip("/")]
    if len(found) != 1:
        there = ", ".join(report.name for report in reports)
        raise UsageError(f"--family: {part} is not one of the compared reports: {there}")
    return found[0]


def _by_names(reports: Sequence[Report]) -> Families:
    found: dict[str, list[str]] = defaultdict(list)
    for report in reports:
        if match := _BEGINNING.match(report.name):
            found[match[1].lower()].append(report.name)
    return {family: members for family, members in found.items() if len(members) > 1}
