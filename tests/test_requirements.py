"""Which versions are pinned and declared, and for which Pythons."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from generators.registry import PIXEL_STAGES
from tests import ROOT
from tests.methods import HERE

PROJECT = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
PYTHONS = [f"3.{minor}" for minor in range(7, 30) if f"3.{minor}" in SpecifierSet(PROJECT["requires-python"])]


def pins() -> Iterator[Requirement]:
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if not line.startswith("#"):
            yield Requirement(line)


def test_pixel_libraries_have_one_version_on_every_python() -> None:
    made_by = {method.library.distribution for method in HERE.values() if method.stage in PIXEL_STAGES}
    found = {pin.name: pin for pin in pins() if "python_version" not in str(pin.marker)}
    assert made_by <= found.keys()


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_once_and_no_lower_than_declared(python: str) -> None:
    machine = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": "x86_64"}
    held = [pin for pin in pins() if pin.marker is None or pin.marker.evaluate(machine)]
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in held}
    assert len(versions) == len(held)
    declared = [Requirement(each) for each in PROJECT["dependencies"]]
    wanted = [each for each in declared if each.marker is None or each.marker.evaluate(machine)]
    assert {canonicalize_name(each.name) for each in wanted} == versions.keys()
    for each in wanted:
        assert versions[canonicalize_name(each.name)] in each.specifier


def test_the_makefile_and_the_readme_know_the_same_pythons() -> None:
    said = f"Python {PYTHONS[0]} to {PYTHONS[-1]}"
    assert f"{said} is needed" in MAKEFILE
    assert f"With {said}," in (ROOT / "README.md").read_text()
    first, last = (tuple(map(int, found)) for found in re.findall(r"\((3), (\d+)\)", MAKEFILE))
    assert (f"3.{first[1]}", f"3.{last[1] - 1}") == (PYTHONS[0], PYTHONS[-1])
    (minors,) = re.findall(r"for minor in ([\d ]+);", MAKEFILE)
    assert [f"3.{minor}" for minor in minors.split()] == PYTHONS
