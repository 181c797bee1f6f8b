"""A release without a wheel is built from source, and resizes like its wheel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generators.geometry import MAX_PIXELS
from generators.pixels import foreign, pillow
from generators.pixels.foreign import build, install
from generators.pixels.foreign.environment import Environment, environment
from generators.pixels.foreign.needs import NEEDS, Build
from generators.pixels.foreign.process import Process
from generators.pixels.foreign.pythons import installed
from generators.pixels.foreign.uv import UvError
from generators.registry import UnavailableError
from tests.generators.foreign.conftest import HERE

RELEASE = "6.2.1"
SERVE = Path(foreign.__file__).with_name("programs") / "serve.py"


def recipe() -> Build:
    """How Pillow is built."""
    found = NEEDS["pillow"].build
    assert found
    return found


def _process(of: Environment) -> Process:
    return Process([str(of.python), "-I", "-B", str(SERVE), "pillow", str(os.getpid()), str(MAX_PIXELS)])


@pytest.fixture
def built(tmp_path: Path) -> Iterator[Process]:
    """Pillow 6.2.1 with Python 3.11 only, for which it has no wheel."""
    python = next((python for python in installed() if python.minor == "3.11"), None)
    if python is None:
        pytest.skip("no Python 3.11 on this machine to build with")
    if packages := build.missing(recipe(), python):
        pytest.skip(f"apt-get install {' '.join(packages)}")
    environment.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYSNOISE_CACHE", str(tmp_path))
        patch.setenv("UV_PYTHON_DOWNLOADS", "never")
        patch.setattr(install, "installed", lambda: [python])
        try:
            found = environment("pillow", RELEASE)
        except UnavailableError as error:
            if "cannot be downloaded" in str(error):
                pytest.skip(str(error))
            raise
    assert found.about.built.startswith("gcc")
    environment.cache_clear()
    process = _process(found)
    yield process
    process.close()


def test_a_build_resizes_like_the_wheel(built: Process, photographs: dict[str, bytes]) -> None:
    of_wheel = environment("pillow", RELEASE)
    if of_wheel.about.built:
        pytest.skip(f"no Python on this machine that Pillow {RELEASE} has a wheel for")
    wheel = _process(of_wheel)
    box_changed = False
    for data in photographs.values():
        image = pillow.decode(data)  # not the build's own: Debian's libjpeg is not the wheel's
        for name in ("BOX", "LANCZOS"):
            expected = wheel.call("resize", image, 256, 256, filter=name)
            np.testing.assert_array_equal(built.call("resize", image, 256, 256, filter=name), expected)
        box = wheel.call("resize", image, 256, 256, filter="BOX")
        box_changed |= not np.array_equal(box, pillow.resize(image, 256, 256, filter="BOX"))
    assert box_changed  # so it is the old release
    wheel.close()


def test_missing_build_requirements_are_named_by_package(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = replace(
        recipe(), headers={"stdlib.h": "libc6-dev", "nowhere.h": "libnowhere-dev"}, programs={"nope": "nope"}
    )
    assert [package for package in build.missing(lacking, HERE) if not package.startswith("python")] == [
        "libnowhere-dev",
        "nope",
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert build.missing(lacking, HERE) == ["gcc", "libc6-dev", "libc6-dev", "libnowhere-dev", "nope"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "  × Failed to build `av==9.2.0`\n         src/av/plane.c:489:62: error: invalid use of a typedef\n"
            "         error: command '/usr/bin/gcc' failed with exit code 1\n\nhint: Build failures usually …\n",
            "src/av/plane.c:489:62: error: invalid use of a typedef",
        ),
        (
            "         /usr/bin/ld: cannot find -ljpeg: No such file or directory\n         collect2: error: ld …\n",
            "/usr/bin/ld: cannot find -ljpeg: No such file or directory",
        ),
        (
            "error: Failed to build `pillow==6.2.1`\n  cause: …\n         [stderr]\n         Traceback (most …):\n"
            "         KeyError: '__version__'\n\nhint: Build failures usually …\n",
            "KeyError: '__version__'",
        ),
    ],
)
def test_the_reason_of_a_failed_build_is_one_line(said: str, expected: str) -> None:
    assert build.reason(UvError(said)) == expected
