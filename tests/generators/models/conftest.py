"""What the tests of passes share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to write into, which Hypothesis may use again for each example."""
    return tmp_path_factory.mktemp("models")
