"""Shared by the tests of passes."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to write to, which Hypothesis may reuse for each example."""
    return tmp_path_factory.mktemp("models")
