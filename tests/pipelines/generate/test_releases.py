"""Preparing other versions of libraries: what is unavailable or differs is one line, for drivers and for workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from generators.registry import Method, Release, find
from pipelines.errors import RunError, UsageError
from pipelines.generate.options import Options
from pipelines.generate.releases import check_here, prepare, problem_here
from pipelines.generate.run import generate


def method(token: str, **changed: str) -> Method:
    """A token's method with changes to its library."""
    found = find(token)
    assert found
    return replace(found, library=replace(found.library, **changed))


def test_a_node_with_the_same_release_is_fine_and_one_with_other_files_is_not() -> None:
    prepared = prepare([method("pil_box-12.3.0"), method("pil"), method("pil-12.3.0")])
    assert [release.name for release in prepared] == ["Pillow 12.3.0"]
    assert problem_here(prepared) is None
    ((release, mine),) = prepared.items()
    other = problem_here({release: {**mine, "Pillow-12.3.0/sha256": "another"}})
    sha256 = mine["Pillow-12.3.0/sha256"]
    assert other
    assert other.startswith(
        f"Pillow 12.3.0 differs from the driver's: Pillow-12.3.0/sha256 is {sha256} there and another here"
    )


def test_a_dry_run_installs_nothing_and_reports_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYSNOISE_CACHE", str(tmp_path / "cache"))
    assert generate(Options(variants=("pil_box-99.0,opencv",), output=str(tmp_path / "out"), dry_run=True)) == 0
    assert "Pillow 99.0 is not installed here yet: a run tries to install it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_installed_or_started_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = method("pil-12.3.0", program="no_such_program")
    with pytest.raises(UsageError, match=r"^Pillow 12\.3\.0 does not start \(.*no_such_program"):
        prepare([broken])
    (tmp_path / "file").touch()
    monkeypatch.setenv("SYSNOISE_CACHE", str(tmp_path / "file"))
    lacking = method("pil-0.0.1")
    with pytest.raises(UsageError, match=r"environments cannot be written \(Not a directory\): set SYSNOISE_CACHE"):
        prepare([lacking])
    assert isinstance(lacking.library, Release)
    assert "environments cannot be written (Not a directory): set SYSNOISE_CACHE" in str(
        problem_here({lacking.library: {}})
    )
    with pytest.raises(RunError, match=r"^on a worker, .*environments cannot be written \("):
        check_here([lacking])
