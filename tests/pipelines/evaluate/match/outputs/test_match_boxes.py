"""`score.py match --outputs` with a detector's boxes: it finds their variant and noise, from any format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generators.boxes import NONE
from generators.variant import parse
from pipelines.errors import UsageError
from pipelines.evaluate.match import match
from pipelines.evaluate.model.heads.categories import CATEGORIES
from pipelines.evaluate.model.inputs import Image, Inputs
from pipelines.evaluate.model.preprocessing import read_preprocessing
from pipelines.evaluate.model.readers import kind_for
from pipelines.evaluate.model.runtimes import Input
from pipelines.evaluate.options import MatchOptions
from pipelines.shards import Shards, open_shards
from tests.pipelines.evaluate.match.outputs.devices import detector, outputs_of

Results = dict[str, list[dict[str, Any]]]
TAKES = Input("image", np.dtype(np.float32), 1, 180, 180)


@pytest.fixture(scope="module")
def boxed(coco: tuple[Path, Path]) -> Shards:
    return open_shards(coco[0])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return detector(tmp_path_factory.mktemp("detector") / "yolox.onnx")


def detected(shards: Shards, variant: str, model: Path) -> Results:
    """COCO results by key, as scoring writes them."""
    found = outputs_of(shards, variant, model, model.parent, 14)
    boxes = [method for method in parse(variant, shards.base).noise if method.stage == "boxes"]
    noise = boxes[0].load_noise()() if boxes else NONE
    stated = read_preprocessing(model, {})
    infos = {stored.key: shards.info(stored) for stored in shards.stored(shards.reference.name)}
    results = {}
    for key, (raw,) in found.items():
        outputs = {"out": raw}
        reader = kind_for("coco", stated).reader(stated, Inputs(180, 180, stated, TAKES), outputs)
        (rows,) = reader.read(outputs, [Image(key, infos[key], 0, 0)], [noise])
        results[key] = [json.loads(row) for row in rows]
    return results


def as_results(path: Path, results: Results, shards: Shards) -> MatchOptions:
    path.with_suffix(".json").write_text(json.dumps([one for own in results.values() for one in own]))
    return MatchOptions(str(shards.root), outputs=path.with_suffix(".json"))


def as_json_in_shard_pixels(path: Path, results: Results, shards: Shards) -> MatchOptions:
    path.mkdir()
    for key, own in results.items():
        boxes = [[x * 1.5, y * 1.5 + 22, w * 1.5, h * 1.5] for x, y, w, h in (one["bbox"] for one in own)]
        moved = [{**one, "bbox": box} for one, box in zip(own, boxes, strict=True)]
        (path / f"{key}.json").write_text(json.dumps(moved))
    return MatchOptions(str(shards.root), outputs=path, boxes="shard")


def rows_of(own: list[dict[str, Any]]) -> list[list[float]]:
    return [
        [x, y, x + w, y + h, one["score"], CATEGORIES.index(one["category_id"])]
        for one in own
        for x, y, w, h in [one["bbox"]]
    ]


def as_csv(path: Path, results: Results, shards: Shards) -> MatchOptions:
    with open(path.with_suffix(".csv"), "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "x1", "y1", "x2", "y2", "score", "class"])
        writer.writerows([key, *row] for key, own in results.items() for row in rows_of(own))
    return MatchOptions(str(shards.root), outputs=path.with_suffix(".csv"))


def as_npy(path: Path, results: Results, shards: Shards) -> MatchOptions:
    path.mkdir()
    for key, own in results.items():
        np.save(path / f"{key}.npy", np.array(rows_of(own)).reshape(1, -1, 6))
    return MatchOptions(str(shards.root), outputs=path)


@pytest.mark.parametrize(
    ("variant", "form"),
    [
        ("ffmpeg", as_results),
        ("pil_nearest+box_round", as_json_in_shard_pixels),
        ("box_offset", as_csv),
        ("ffmpeg+box_offset_all", as_npy),
    ],
)
def test_a_variants_own_boxes_rank_it_first(
    variant: str,
    form: Callable[[Path, Results, Shards], MatchOptions],
    boxed: Shards,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = form(tmp_path / "device", detected(boxed, variant, model), boxed)
    match(MatchOptions(**{**vars(options), "model": str(model), "output": str(tmp_path)}))
    found = capsys.readouterr().out
    assert f"on `{variant}`, exactly: every box of 14 images." in found.splitlines()[0]
    assert ("read as x1, y1, x2, y2, score and class" in found) is (form is as_npy)


def test_a_device_may_have_a_higher_threshold(
    boxed: Shards, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = detected(boxed, "pil_nearest", model)
    scores = [one["score"] for own in results.values() for one in own]
    likely = {key: [one for one in own if one["score"] >= np.median(scores)] for key, own in results.items()}
    options = as_results(tmp_path / "likely", likely, boxed)
    match(MatchOptions(str(boxed.root), outputs=options.outputs, model=str(model), output=str(tmp_path)))
    assert "on `pil_nearest`, exactly" in capsys.readouterr().out


def test_raw_outputs_are_matched_without_box_noise(
    boxed: Shards, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, (raw,) in outputs_of(boxed, "ffmpeg", model, model.parent).items():
        np.save(tmp_path / f"{key}.npy", raw)
    match(MatchOptions(str(boxed.root), outputs=tmp_path, model=str(model), output=str(tmp_path)))
    found = capsys.readouterr().out
    assert "on `ffmpeg`, exactly: every value of 8 images." in found
    assert "box_" not in found


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda one: {**one, "image_id": None}, "has neither an image_id nor a key"),
        (lambda one: {**one, "bbox": one["bbox"][:3]}, r"a box is \{bbox: \[x, y, width, height\]"),
        (lambda one: {**one, "bbox": [9.0, 9.0, 4.0, -4.0]}, "negative width or height"),
        (lambda one: {**one, "score": 50.0}, "scores outside 0 to 1"),
        (lambda one: {**one, "score": float("nan")}, "NaN or infinite"),
    ],
)
def test_impossible_results_are_refused_in_one_line(
    change: Callable[[dict[str, Any]], dict[str, Any]], line: str, boxed: Shards, model: Path, tmp_path: Path
) -> None:
    (key, *_) = [stored.key for stored in boxed.stored(boxed.reference.name)]
    result = {"image_id": int(key), "category_id": 1, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}
    options = as_results(tmp_path / "wrong", {key: [change(result)]}, boxed)
    with pytest.raises(UsageError, match=line) as caught:
        match(MatchOptions(str(boxed.root), outputs=options.outputs, model=str(model), output=str(tmp_path)))
    assert "\n" not in str(caught.value)
