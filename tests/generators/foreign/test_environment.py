"""An environment is made once and completely, whatever happens meanwhile, and its digest covers what was installed."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from generators.pixels.foreign.environment import Environment, at_hand, environment, is_made
from generators.registry import UnavailableError
from tests import ROOT
from tests.generators.foreign.tiny import PILLOW, put_wheel

_MAKE = """
from generators.pixels.foreign import environment, install
from tests.generators.foreign.conftest import HERE
install.installed = lambda: [HERE]
print(environment("pillow", "0.0.9").folder)
"""


def made(version: str = "0.0.9") -> Environment:
    environment.cache_clear()
    return environment("pillow", version)


def packages(found: Environment) -> Path:
    return found.folder / "lib" / f"python{found.about.python}" / "site-packages"


def start(**variables: object) -> subprocess.Popen[str]:
    """Another run that needs the same environment."""
    surroundings = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", _MAKE], cwd=ROOT, env=surroundings, stdout=pipe, stderr=pipe, text=True
    )


def test_it_is_made_once_and_records_what_was_installed(cache: Path) -> None:
    put_wheel(cache / "wheels", "pillow", "0.0.9", PILLOW)
    assert not is_made("pillow", "0.0.9")
    found = made()
    words = [
        str(found.python),
        "-I",
        "-c",
        "import PIL.Image, sys; print(PIL.__file__, *sys.version_info[:2], sep='\\n')",
    ]
    file, *minor = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert Path(file).is_relative_to(found.folder)
    assert found.about.python == ".".join(minor)
    assert (found.about.distributions, found.about.built) == ({"pillow": "0.0.9"}, "")
    shutil.rmtree(cache / "wheels")
    assert made() == found


def test_existing_releases_are_sorted_as_versions(cache: Path) -> None:
    assert at_hand() == {}
    for version in ("0.0.9", "0.0.10"):
        put_wheel(cache / "wheels", "pillow", version, PILLOW)
        made(version)
    shutil.rmtree(packages(made("0.0.9")))
    assert at_hand() == {"pillow": ["0.0.10"]}
    made("0.0.9")
    assert at_hand() == {"pillow": ["0.0.9", "0.0.10"]}


def test_the_digest_covers_exactly_what_is_imported(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for place, image in (("one", ""), ("two", ""), ("three", "# another")):
        monkeypatch.setenv("SYSNOISE_CACHE", str(tmp_path / place))
        put_wheel(tmp_path / place / "wheels", "pillow", "0.0.9", {**PILLOW, "PIL/Image.py": image})
        if place == "two":
            monkeypatch.setenv("UV_COMPILE_BYTECODE", "1")
        digests.append(made().about.sha256)
    first, second, other = digests
    assert first == second != other


def _remove_python(found: Environment) -> None:
    found.python.unlink()


def _cut_description(found: Environment) -> None:
    about = found.folder / "environment.json"
    about.write_text(about.read_text()[:-9])


def _older_description(found: Environment) -> None:
    (found.folder / "environment.json").write_text(json.dumps({"python": found.about.python, "sha256": "0"}))


def _remove_package(found: Environment) -> None:
    shutil.rmtree(packages(found) / "PIL")


def _cut_library(found: Environment) -> None:
    (packages(found) / "PIL" / "_imaging.so").write_text("a")


@pytest.mark.parametrize(
    "damage", [_remove_python, _cut_description, _older_description, _remove_package, _cut_library]
)
def test_a_damaged_one_is_made_again(damage: Callable[[Environment], None], cache: Path) -> None:
    put_wheel(cache / "wheels", "pillow", "0.0.9", PILLOW)
    before = made()
    damage(before)
    assert not is_made("pillow", "0.0.9")
    assert made() == before
    assert is_made("pillow", "0.0.9")


def test_bytecode_is_not_damage(cache: Path) -> None:
    put_wheel(cache / "wheels", "pillow", "0.0.9", PILLOW)
    compileall.compile_dir(packages(made()), quiet=1)
    assert is_made("pillow", "0.0.9")


def test_bytecode_is_written_when_it_is_made_and_need_not_stay(cache: Path) -> None:
    files = {"PIL/__init__.py": "", "PIL/Image.py": "import beside", "beside.py": ""}
    put_wheel(cache / "wheels", "pillow", "0.0.9", files)
    found = packages(made())
    for folder in (found, found / "PIL"):
        assert list(folder.glob("__pycache__/*.pyc"))
        shutil.rmtree(folder / "__pycache__")
    assert is_made("pillow", "0.0.9")


def test_two_runs_at_once_make_it_once(cache: Path, tmp_path: Path) -> None:
    put_wheel(cache / "wheels", "pillow", "0.0.9", PILLOW)
    wait, count = tmp_path / "wait", tmp_path / "count"
    os.mkfifo(wait)
    first = start(SYSNOISE_WAIT=wait, SYSNOISE_COUNT=count)
    with wait.open("w"):  # opened while the first run is busy
        second = start(SYSNOISE_COUNT=count)
    for run in (first, second):
        said, wrong = run.communicate()
        assert (said.strip(), wrong) == (str(cache / "environments" / "pillow-0.0.9"), "")
    assert count.read_text() == "imported\n"


def test_leftovers_of_a_killed_run_are_removed(cache: Path, tmp_path: Path) -> None:
    put_wheel(cache / "wheels", "pillow", "0.0.9", PILLOW)
    wait = tmp_path / "wait"
    os.mkfifo(wait)
    killed = start(SYSNOISE_WAIT=wait)
    with wait.open("w"):  # the process that it started goes on
        killed.kill()
        killed.communicate()
        left = set(os.listdir(cache / "environments"))
        assert not is_made("pillow", "0.0.9")
        assert made().whole
    assert left - set(os.listdir(cache / "environments"))
    assert {name.lstrip(".") for name in os.listdir(cache / "environments")} == {"pillow-0.0.9", "pillow-0.0.9.lock"}


@pytest.mark.parametrize("folder", ["/dev/null/cache", "/proc/cache"])
def test_a_cache_that_cannot_be_written_is_named(folder: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSNOISE_CACHE", folder)
    assert at_hand() == {}
    with pytest.raises(UnavailableError, match=rf"^{folder}.* cannot be written \(.*\): set SYSNOISE_CACHE to "):
        made()


def test_without_a_home_the_cache_variable_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYSNOISE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def expanduser(path: Path) -> Path:  # as without HOME and a line in passwd
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", expanduser)
    assert at_hand() == {}
    with pytest.raises(UnavailableError, match=r"no home folder .*: set SYSNOISE_CACHE to a writable folder"):
        made()
