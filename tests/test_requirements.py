"""Which versions are pinned and declared, and for which Pythons."""

from __future__ import annotations

import importlib.metadata
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


# Libraries that newer Pythons do not need: tomli is their tomllib.
BUILT_IN_LATER = {"tomli"}
FILES = ("requirements.txt", "requirements-dev.txt", "requirements-timm.txt")


def pins(file: str = "requirements.txt") -> Iterator[Requirement]:
    for line in (ROOT / file).read_text().splitlines():
        if not line.startswith(("#", "-r ")):
            yield Requirement(line)


def on(python: str) -> dict[str, str]:
    """What the markers of requirements ask about, on x86-64 with this Python."""
    return {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": "x86_64"}


def test_pixel_libraries_have_one_version_on_every_python() -> None:
    made_by = {method.library.distribution for method in HERE.values() if method.stage in PIXEL_STAGES}
    found = {pin.name: pin for pin in pins() if "python_version" not in str(pin.marker)}
    assert made_by <= found.keys()


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_once_and_no_lower_than_declared(python: str) -> None:
    machine = on(python)
    held = [pin for pin in pins() if pin.marker is None or pin.marker.evaluate(machine)]
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in held}
    assert len(versions) == len(held)
    declared = [Requirement(each) for each in PROJECT["dependencies"]]
    wanted = [each for each in declared if each.marker is None or each.marker.evaluate(machine)]
    assert {canonicalize_name(each.name) for each in wanted} == versions.keys()
    for each in wanted:
        assert versions[canonicalize_name(each.name)] in each.specifier


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("file", FILES)
def test_every_library_has_one_version_that_supports_the_python(file: str, python: str) -> None:
    used = [pin for pin in pins(file) if pin.marker is None or pin.marker.evaluate(on(python))]
    names = sorted(pin.name for pin in used)
    assert sorted({*names, *(pin.name for pin in pins(file) if pin.name not in BUILT_IN_LATER)}) == names
    for pin in used:
        try:
            installed = importlib.metadata.metadata(pin.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # PyTorch's libraries are optional
        if pin.specifier.contains(installed["Version"]):
            assert SpecifierSet(str(installed.json.get("requires_python", ""))).contains(f"{python}.99"), pin


def test_the_makefile_and_the_readme_know_the_same_pythons() -> None:
    said = f"Python {PYTHONS[0]} to {PYTHONS[-1]}"
    assert f"{said} is needed" in MAKEFILE
    assert f"With {said}," in (ROOT / "README.md").read_text()
    first, last = (tuple(map(int, found)) for found in re.findall(r"\((3), (\d+)\)", MAKEFILE))
    assert (f"3.{first[1]}", f"3.{last[1] - 1}") == (PYTHONS[0], PYTHONS[-1])
    (minors,) = re.findall(r"for minor in ([\d ]+);", MAKEFILE)
    assert [f"3.{minor}" for minor in minors.split()] == PYTHONS
