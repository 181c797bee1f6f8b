"""A doubt is shown on the terminal, at the top of both reports, and among the notes in results.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.generate.sources.labels import labels_by_id
from tests.conftest import Command
from tests.pipelines.evaluate.conftest import write_predictions

DOUBT = "if the predicted classes are read as the devkit's ILSVRC2012_IDs minus 1"


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
    assert (DOUBT in done.stdout) == wrong
    assert any(DOUBT in note for note in notes) == wrong
    assert (DOUBT.replace("_", "\\_") in (report / "report.md").read_text().splitlines()[0]) == wrong
    assert (DOUBT.replace("'", "&#39;") in (report / "report.html").read_text()) == wrong
