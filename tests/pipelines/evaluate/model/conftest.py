"""Shards that the tests of models share."""

from __future__ import annotations

import pytest

from pipelines.shards import Shards, open_shards
from tests.conftest import Command, Once
from tests.pipelines.evaluate.model.classified import NAMES


@pytest.fixture(scope="session")
def sample(once: Once, generate: Command) -> Shards:
    """The nine built-in photographs at 32 pixels, with the variants `NAMES`, in three shards."""
    words = ("--variant", ",".join(NAMES), "--size", 32, "--samples-per-shard", 4)
    folder = once("small sample", lambda folder: generate(*words, "--output", folder / "out"))
    return open_shards(folder / "out" / "sample")
