"""A cache for each test, with one Python and no index."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from generators.pixels.foreign import install, pip
from generators.pixels.foreign.environment import environment
from generators.pixels.foreign.pythons import Python

HERE = Python(".".join(map(str, sys.version_info[:3])), sys.executable)


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> Iterator[None]:
    """Forget what a test's own settings have led to before the next test."""
    yield
    environment.cache_clear()
    pip._of_pip.cache_clear()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SYSNOISE_CACHE", str(folder))
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "index").as_uri())
    monkeypatch.setattr(install, "installed", lambda: [HERE])
    monkeypatch.setattr(install, "downloadable", list)
    environment.cache_clear()
    return folder
