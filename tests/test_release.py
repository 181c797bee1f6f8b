"""The version is set in pyproject.toml; the changelog, the citation and the image, with its tag, agree with it."""

from __future__ import annotations

import re
import subprocess
from datetime import date

import tomli
import yaml

from tests import ROOT

PROJECT = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
RELEASES = re.findall(r"^## (\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_newest_release_in_the_changelog_is_this_version() -> None:
    assert RELEASES[0][0] == PROJECT["version"]
    dates = [date.fromisoformat(day) for _, day in RELEASES]
    assert dates == sorted(dates, reverse=True)
    versions = [tuple(map(int, version.split("."))) for version, _ in RELEASES]
    assert versions == sorted(set(versions), reverse=True)


def test_the_changelog_groups_what_users_see() -> None:
    headings = re.findall(r"^##.*$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    releases = {f"## {version} ({day})" for version, day in RELEASES}
    assert set(headings) <= {"## Unreleased", *releases, "### Added", "### Changed", "### Fixed"}


def test_the_citation_is_of_this_version_and_its_date() -> None:
    assert (CITATION["version"], CITATION["date-released"].isoformat()) == RELEASES[0]
    assert CITATION["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys(), "what the format requires"


def test_the_image_is_labelled_with_this_version() -> None:
    labels = dict(re.findall(r'(org\.opencontainers\.image\.\w+)="([^"]*)"', (ROOT / "Dockerfile").read_text()))
    assert labels == {
        "org.opencontainers.image.title": CITATION["title"],
        "org.opencontainers.image.version": PROJECT["version"],
        "org.opencontainers.image.licenses": PROJECT["license"],
    }


def test_every_tag_of_the_image_is_this_version() -> None:
    words = ["git", "grep", "--untracked", "-Ioh", rf"{PROJECT['name']}:[0-9][0-9.]*[0-9]"]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert set(found) == {f"{PROJECT['name']}:{PROJECT['version']}"}
