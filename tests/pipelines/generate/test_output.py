"""The output folder: no manifest before its shards, no unreadable sizes, and runs that no lock keeps apart."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import RunError, UsageError
from pipelines.generate.config import ImageConfig, describe
from pipelines.generate.output import Output
from pipelines.generate.run import _check_shards
from pipelines.generate.shard import Job, Task, make_shard
from pipelines.generate.sources.find import find
from pipelines.options import Inputs
from pipelines.store import Disk
from tests.machine import recipe_here
from tests.steps import result_of


def test_shards_too_many_or_too_large_to_be_read_again_are_not_made() -> None:
    _check_shards(50_000, 1000)
    _check_shards(10**8, 1000)
    _check_shards(100_000, 10**9)
    with pytest.raises(UsageError, match="more than 100,000 shards for a variant: give --samples-per-shard 2 or more"):
        _check_shards(100_001, 1)
    with pytest.raises(UsageError, match="--samples-per-shard 100001: give 100000 or less"):
        _check_shards(10**6, 100_001)


def test_a_record_of_another_run_ends_this_one(tmp_path: Path) -> None:
    found = find("sample", Inputs(), 2)
    mine, theirs = (ImageConfig("sample", "crop", (size,), "pil", "png", 2, describe(found)) for size in (224, 64))
    with Output(Disk(str(tmp_path / "out"))).locked() as output:
        recipe = recipe_here(theirs, theirs.base)
        output.begin({recipe.name: recipe}, overwrite=False)
        job = Job(theirs, found.source, output, {recipe.name: recipe})
        result_of(make_shard(Task(0, 1, found.samples, (theirs.base,)), job, {}))
        assert output.finish(recipe, 1)["totals"]["samples"] == 2
        with pytest.raises(RunError, match=r"validation-00000-of-00001\.json was written by another run"):
            output.finish(recipe_here(mine, mine.base), 1)


def test_a_manifest_exists_only_if_the_rest_of_the_variant_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file is being written when the disk is full."""
    found = find("sample", Inputs(), 2)
    config = ImageConfig("sample", "crop", (64,), "pil", "png", 2, describe(found))
    recipe = recipe_here(config, config.base)
    with Output(Disk(str(tmp_path / "out"))).locked() as output:
        output.begin({recipe.name: recipe}, overwrite=False)
        job = Job(config, found.source, output, {recipe.name: recipe})
        result_of(make_shard(Task(0, 1, found.samples, (config.base,)), job, {}))
        folder, commit = tmp_path / "out" / recipe.name, Output.commit
        left = 0

        def committing(output: Output, *words: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            commit(output, *words)

        monkeypatch.setattr(Output, "commit", committing)
        for whole in range(3):
            left = whole
            with pytest.raises(OSError, match="No space left"):
                output.finish(recipe, 1)
            assert not (folder / "manifest.json").exists()
        left = 3
        output.finish(recipe, 1)
        assert {path.name for path in folder.iterdir()} >= {"manifest.json", "manifest.parquet", "_info.json"}


def test_a_killed_runs_worker_does_not_write_into_another_run(tmp_path: Path) -> None:
    with Output(Disk(str(tmp_path))).locked() as killed, killed.draft() as late:
        late.file.write(b"of the killed run")
        (tmp_path / ".run" / "lock").rename(tmp_path / "lock")  # as if it were free
        with Output(Disk(str(tmp_path))).locked() as own:
            own.write(own.part("00000000"), b"its own")
            with pytest.raises(RunError, match="cannot write"), killed.writing():
                killed.commit(late, killed.part("00000000"))
            assert not killed.is_seen()
            assert own.part("00000000").read(99) == b"its own"
    assert not (tmp_path / ".run").exists()
