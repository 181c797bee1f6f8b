"""Scoring in pieces: a score is the same wherever it is computed, and a node reports files that it does not see."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.evaluate import scoring
from pipelines.evaluate.detection import Detection, Reading, open_annotations
from pipelines.evaluate.scoring import Job, Scored, problem_here, score_each
from pipelines.evaluate.statistics import Bootstrap
from pipelines.options import Cluster
from pipelines.shards import open_shards
from pipelines.store import Disk
from pipelines.work import Finished, Progress
from pipelines.work.cluster import Ray


@pytest.fixture
def job(coco: tuple[Path, Path], tmp_path: Path) -> Job:
    """COCO's true boxes for the reference and one variant, and moved boxes for another."""
    folder, annotations = coco
    shards = open_shards(folder)
    truths = json.loads(annotations.read_text())["annotations"]
    for name, shift in (("pil_bilinear", 2), ("ffmpeg", 2), ("pil_nearest", 9)):
        boxes = [[truth["bbox"][0] + shift, *truth["bbox"][1:]] for truth in truths]
        found = [
            {"image_id": truth["image_id"], "category_id": truth["category_id"], "bbox": box, "score": 0.5}
            for truth, box in zip(truths, boxes, strict=True)
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    reference = tmp_path / "pil_bilinear.json"
    opened = open_annotations(Disk(str(annotations)), shards)
    task = Detection(shards, reference, opened, Reading(), Bootstrap(300, 0))
    places = {name: Disk(str(tmp_path / f"{name}.json")) for name in shards.variants}
    return Job(task, shards.reference, places, folders=False)


def found_by(job: Job, workers: int) -> tuple[dict[str, Scored], int]:
    """The scores by name, and the number of images in the progress."""
    scores, images = {}, 0
    for step in score_each(job, list(job.places), Ray(Cluster(workers, None))):
        if isinstance(step, Finished):
            scores[step.piece] = step.result
        elif isinstance(step, Progress):
            images += step.images
    return scores, images


def test_worker_processes_give_the_same_scores(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_WORTH", math.inf)
    here, images = found_by(job, 2)
    monkeypatch.setattr(scoring, "_WORTH", -1.0)
    there, others = found_by(job, 2)
    assert images == others == len(job.places) * len(job.task.keys)
    assert here.keys() == there.keys() == job.places.keys()
    for name, (score, unchanged) in here.items():
        theirs = there[name].score
        assert theirs._replace(lost=score.lost, basis=score.basis) == score
        assert (theirs.lost.tobytes(), theirs.basis.tobytes()) == (score.lost.tobytes(), score.basis.tobytes())
        assert unchanged is there[name].unchanged is (name == "ffmpeg")


def test_a_node_reports_predictions_that_it_does_not_see(job: Job, tmp_path: Path) -> None:
    seen = {str(place): (tmp_path / place.name).stat().st_size for place in job.places.values()}
    assert problem_here(replace(job, seen=seen)) is None
    path = tmp_path / "ffmpeg.json"
    said = f"{path} is not the same file there: give paths that all nodes share, or URIs"
    path.write_text("[]")
    assert problem_here(replace(job, seen=seen)) == said
    path.unlink()
    assert problem_here(replace(job, seen=seen)) == said
