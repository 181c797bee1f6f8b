"""Where a release comes from, and the message if it is not available: one line, with what to do."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from generators.pixels.foreign import install, pip, uv
from generators.pixels.foreign.environment import Environment, environment
from generators.pixels.foreign.pythons import Python, installed
from generators.registry import UnavailableError
from tests.generators.foreign.conftest import HERE
from tests.generators.foreign.tiny import PILLOW, put_source, put_wheel

REFUSING = "http://127.0.0.1:9/simple"


def made(version: str = "0.0.9", distribution: str = "pillow") -> Environment:
    environment.cache_clear()
    return environment(distribution, version)


def message(version: str = "0.0.9", distribution: str = "pillow") -> str:
    """The one-line message for a release that is not available."""
    with pytest.raises(UnavailableError) as failure:
        made(version, distribution)
    said = str(failure.value)
    assert "\n" not in said
    return said


def test_the_pythons_of_this_machine_are_found() -> None:
    found = {python.minor: python for python in installed()}
    assert HERE.minor in found
    for minor, python in found.items():
        words = [python.path, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == minor
    order = [tuple(map(int, minor.split("."))) for minor in found]
    assert order == sorted(order, reverse=True)
    assert order[-1] >= (3, 7)


def test_the_newest_python_with_a_wheel_is_taken(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = Python("3.99.0", "/nowhere/python")
    asked = []

    def resolve(python: Python, *words: object, **options: object) -> dict[str, str]:
        asked.append(python)
        if python is newer:
            raise uv.UvError("error: No solution found when resolving dependencies")
        return {"pillow": "0.0.9"}

    put_wheel(cache / "wheels", "pillow", "0.0.9", PILLOW)
    monkeypatch.setattr(install, "installed", lambda: [newer, HERE, Python("3.7.0", "/nowhere/old")])
    monkeypatch.setattr("generators.pixels.foreign.resolution.resolve", resolve)
    assert made().about.python == HERE.minor
    assert asked == [newer, HERE]


def test_a_wheel_that_cannot_be_imported_is_not_used(cache: Path) -> None:
    put_wheel(cache / "wheels", "opencv-python-headless", "0.0.9", {"cv2.py": "import lacking"})
    put_wheel(cache / "wheels", "numpy", "1.0", {"numpy.py": ""})
    assert "has no wheels for a Python of this machine" in message("0.0.9", "opencv-python-headless")


def test_a_release_that_does_not_exist_names_its_neighbours(cache: Path) -> None:
    for version in ("0.0.2", "0.0.9", "0.0.10", "0.0.20"):
        put_wheel(cache / "wheels", "pillow", version, PILLOW)
    assert message("0.0.9.1") == "there is no release pillow 0.0.9.1: the nearest available are 0.0.9 and 0.0.10"
    assert message("7") == "there is no release pillow 7: the nearest available are 0.0.20"


def test_neighbours_have_available_requirements(cache: Path) -> None:
    for version, needed in (("0.0.1", "there"), ("0.0.2", "lacking"), ("0.0.4", "lacking"), ("0.0.5", "there")):
        put_wheel(cache / "wheels", "pillow", version, PILLOW, needs=(needed,))
    put_wheel(cache / "wheels", "there", "1.0", {"there.py": ""})
    assert message("0.0.3").endswith(": the nearest available are 0.0.1 and 0.0.5")


@pytest.mark.parametrize("tag", ["py3-none-any", "cp27-cp27m-linux_x86_64"])
def test_a_version_must_be_spelled_like_the_release(tag: str, cache: Path) -> None:
    put_wheel(cache / "wheels", "pillow", "0.5.0", PILLOW, tag)
    assert message("0.5") == "pillow 0.5 is published as 0.5.0: write that"


def test_a_version_may_have_a_local_build(cache: Path) -> None:
    """As PyTorch's are if uv is told so (UV_TORCH_BACKEND)."""
    put_wheel(cache / "wheels", "numpy", "1.0", {"numpy.py": ""})
    put_wheel(cache / "wheels", "torchvision", "0.0.9+cpu", {"torchvision.py": ""})
    assert made("0.0.9", "torchvision").about.distributions == {"numpy": "1.0", "torchvision": "0.0.9+cpu"}
    assert message("0.0.8", "torchvision").endswith("the nearest available are 0.0.9")


def test_requirements_without_wheels_are_built_without_this_machine_s_libraries(cache: Path) -> None:
    put_wheel(cache / "wheels", "pyvips-binary", "8.0.1", {"_libvips.py": ""})
    put_source(cache / "wheels", "pyvips", "3.2.0", {"pyvips.py": "asked = PKG_CONFIG"})
    found = made("8.0.1", "pyvips-binary")
    assert found.about.distributions == {"pyvips": "3.2.0", "pyvips-binary": "8.0.1"}
    assert (found.packages / "pyvips.py").read_text() == "asked = 'false'"


def test_a_python_with_a_wheel_that_may_not_be_downloaded_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_wheel(cache / "wheels", "opencv-python-headless", "0.0.9", {"cv2.py": ""}, "cp38-none-any")
    put_wheel(cache / "wheels", "numpy", "1.0", {"numpy.py": ""})
    monkeypatch.setattr(install, "downloadable", lambda: [Python("3.9.25"), Python("3.8.20")])
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    said = message("0.0.9", "opencv-python-headless")
    assert (
        f"for a Python of this machine ({HERE.minor}); there are some for Python 3.8: install it, since uv cannot ("
        in said
    )
    assert "never" in said


def test_without_a_network_the_message_downloads_wheels(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", REFUSING)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(cache / "uv"))
    said = message()
    assert said.startswith(
        f"pillow 0.0.9 cannot be downloaded (Failed to fetch: {REFUSING}/pillow/ (Connection refused "
    )
    assert "pillow==0.0.9 && break; done" in said
    put_wheel(cache / "wheels", "pillow", "0.0.9", PILLOW)
    assert made().about.distributions == {"pillow": "0.0.9"}


def test_the_message_s_command_downloads_wheels(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_wheel(tmp_path / "mirror", "pillow", "0.0.9", PILLOW, f"cp{HERE.minor.replace('.', '')}-none-any")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "mirror"))
    monkeypatch.setattr(install, "installed", lambda: [Python("3.6.0", "/nowhere/python"), HERE])
    said = message()
    assert said.startswith("pillow 0.0.9 cannot be downloaded (UV_OFFLINE is set): ")
    line = said[said.index("for v in") :].replace("pip download", f"{shlex.quote(sys.executable)} -m pip -q download")
    subprocess.run(line, shell=True, check=True, capture_output=True, text=True)
    assert made().about.distributions == {"pillow": "0.0.9"}


def test_missing_uv_is_reported(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SYSNOISE_CACHE", str(cache))
    monkeypatch.setitem(sys.modules, "uv", None)
    assert message() == "needs uv, which is not installed: pip install -r requirements.txt"


def program(path: Path, said: str) -> str:
    """A program that fails like uv, with this on its standard error."""
    path.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 2\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "error: Failed to install: numpy-1.26.4.whl\n  cause: No space left on device (os error 28)",
            r"the disk of \S+ is full: free some of it, or set SYSNOISE_CACHE to a writable folder",
        ),
        (
            "error: Failed to parse: `uv.toml`\n  cause: unknown field `indx`",
            r"uv cannot look for pillow 0\.0\.9: Failed to parse: `uv.toml` \(unknown field `indx`\)",
        ),
    ],
)
def test_uv_s_errors_are_reported_in_one_line(
    said: str, expected: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uv, "_program", lambda: program(tmp_path / "uv", said))
    assert re.fullmatch(expected, message())


@pytest.fixture
def only_pip(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's configuration file, when neither pip nor uv is configured otherwise."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_")) or name == "SSL_CERT_FILE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "config"))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    (tmp_path / "pip.conf").touch()
    pip._of_pip.cache_clear()
    return tmp_path / "pip.conf"


def test_packages_come_from_pip_s_sources(only_pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_wheel(tmp_path / "mirror", "pillow", "0.0.9", PILLOW)
    only_pip.write_text(f"[global]\nno-index = true\nfind-links = {tmp_path / 'gone'}\n  {tmp_path / 'mirror'}\n")
    assert made().about.distributions == {"pillow": "0.0.9"}


def test_pip_s_settings_are_translated_for_uv(only_pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_pip.write_text(
        f"[global]\nindex-url = {REFUSING}/global\ncert = /global.pem\n[install]\ncert = /install.pem\n"
    )
    monkeypatch.setenv("PIP_INDEX_URL", REFUSING)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{REFUSING}/one {REFUSING}/two")
    assert pip.settings_for_uv() == {
        "UV_DEFAULT_INDEX": REFUSING,
        "UV_INDEX": f"{REFUSING}/one {REFUSING}/two",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/install.pem",
    }


@pytest.mark.parametrize("where", ["variable", "file"])
def test_uv_s_own_settings_take_precedence(
    where: str, only_pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_pip.write_text(f"[global]\nindex-url = {REFUSING}\n")
    assert pip.settings_for_uv()
    if where == "variable":
        monkeypatch.setenv("UV_DEFAULT_INDEX", REFUSING)
    else:
        (tmp_path / "config" / "uv").mkdir(parents=True)
        (tmp_path / "config" / "uv" / "uv.toml").write_text(f'[[index]]\nurl = "{REFUSING}"\ndefault = true\n')
    assert not pip.settings_for_uv()
