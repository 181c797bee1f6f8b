"""A doubt stands where it is read: on the terminal, at the head of both reports, and among results.json's notes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.generate.sources.labels import labels_by_id
from tests.conftest import Command
from tests.pipelines.evaluate.conftest import write_predictions

SAID = "where the predicted classes are read as the devkit's ILSVRC2012_IDs, less 1"


@pytest.mark.parametrize("wrong", [True, False])
def test_a_doubt_is_in_every_form(
    wrong: bool, noised: Path, truth: dict[str, int], tmp_path: Path, command: Command
) -> None:
    ids = np.argsort(labels_by_id())
    classes = {key: int(ids[label]) if wrong else label for key, label in truth.items()}
    folder = write_predictions(tmp_path / "predictions", {"pil_bilinear": classes, "ffmpeg": classes})
    done = command("score.py", "--shards", noised, "--predictions", folder, "--output", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    report = tmp_path / "report"
    notes = json.loads((report / "results.json").read_text())["notes"]
    assert (SAID in done.stdout) == wrong
    assert any(SAID in note for note in notes) == wrong
    assert (SAID.replace("_", "\\_") in (report / "report.md").read_text().splitlines()[0]) == wrong
    assert (SAID.replace("'", "&#39;") in (report / "report.html").read_text()) == wrong
