"""A model's TOML and options: what they may state, and the errors for everything else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UsageError
from pipelines.evaluate.model.preprocessing import (
    Preprocessing,
    read_preprocessing,
)
from tests.documents import blocks

WHOLE = """
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
scale = "1/255"
channels = "rgb"
layout = "nchw"
"""
PLAIN = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255, "rgb", "nchw")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not looked into")
    return path


def refused(model: Path, given: dict[str, Any] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        read_preprocessing(model, given or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_toml_beside_the_model_is_read_and_options_override_it(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE)
    expected = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255, "rgb", "nchw")
    assert read_preprocessing(model, {"batch": None}) == expected
    found = read_preprocessing(model, {"channels": "bgr", "scale": 1, "batch": 4})
    assert (found.channels, found.scale, found.batch, found.mean) == ("bgr", 1.0, 4, expected.mean)


@pytest.mark.parametrize("value", ['"bicubic"', "3", '"ceil_mode"', '"paper"'])
def test_an_unknown_reference_is_refused(model: Path, value: str) -> None:
    model.with_suffix(".toml").write_text(f"{WHOLE}reference = {value}\n")
    assert 'reference must be a variant of the pixels, such as "pil_bicubic"' in refused(model)


def test_another_toml_can_be_named(model: Path, tmp_path: Path) -> None:
    model.with_suffix(".toml").write_text("nonsense")
    other = tmp_path / "other.toml"
    other.write_text(WHOLE)
    assert read_preprocessing(model, {"preprocessing": other}).scale == 1 / 255
    assert "none.toml cannot be read" in refused(model, {"preprocessing": tmp_path / "none.toml"})


def test_nothing_is_guessed(model: Path) -> None:
    message = refused(model)
    assert "m.toml" in message
    for line in WHOLE.split("\n"):
        assert line in message
    message = refused(model, {"mean": [0, 0, 0], "std": [1, 1, 1], "channels": "rgb", "layout": "nchw"})
    assert "scale =" in message
    assert "mean =" not in message


def test_each_head_has_the_default_thresholds_of_its_own_evaluation(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE + 'head = "nanodet"\n')
    found = read_preprocessing(model, {})
    assert (found.score_threshold, found.nms_iou) == (0.05, 0.6)
    assert read_preprocessing(model, {"nms_iou": 0.7}).nms_iou == 0.7
    found = read_preprocessing(model, {"head": "yolox"})
    assert (found.score_threshold, found.nms_iou) == (0.01, 0.65)
    found = read_preprocessing(model, {"head": "detr"})
    assert (found.score_threshold, found.nms_iou) == (0, None)


def test_predictions_depend_on_the_same_values_as_in_earlier_versions(model: Path) -> None:
    """Exactly the values in an earlier `predictions.json`; an omitted head is not named."""
    earlier = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "scale": 1 / 255, "channels": "rgb"}
    earlier |= {"layout": "nchw", "class_offset": 0, "labels": None, "pad": None, "placement": None, "batch": 1}
    model.with_suffix(".toml").write_text(WHOLE)
    for head, score, iou in ((None, 0.01, 0.65), ("yolox", 0.01, 0.65), ("nanodet", 0.05, 0.6)):
        now = read_preprocessing(model, {"head": head}).of_predictions()
        for key in ("boxes", "output", "upsample"):
            assert now.pop(key) is None  # `predictions.json` may omit it
        assert now == {**earlier, "head": head, "score_threshold": score, "nms_iou": iou}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("maen = [1, 2, 3]", "unknown key 'maen': did you mean mean?"),
        ("mean = [1, 2]", "m.toml: mean must be three numbers"),
        ("mean = 3", "mean must be three numbers"),
        ('mean = [1, 2, "3"]', "mean must be three numbers"),
        ("mean = [1, 2, nan]", "mean must be three numbers"),
        ("std = [1, 0, 1]", "std must be three numbers above 0"),
        ('scale = "1/0"', "scale must be a number above 0, or a fraction"),
        ("scale = true", "scale must be a number above 0"),
        ('channels = "RGB"', 'channels must be "rgb" or "bgr"'),
        ('layout = "chw"', 'layout must be "nchw" or "nhwc"'),
        ('head = "yolo"', 'head must be "detr" or "end_to_end" or'),
        ('boxes = "source"', 'boxes must be "pixels" or "shares"'),
        ("score_threshold = 0.3", "score_threshold would change a head's defaults: give head as well"),
        ("pad = 256", "pad must be a whole number from 0 to 255"),
        ("batch = 0", "batch must be a whole number of at least 1"),
        ("batch = 1.5", "batch must be a whole number of at least 1"),
        ("nms_iou = 2", "nms_iou must be a number from 0 to 1"),
        ("output = 1", "output must be the name of an output"),
        ('upsample = "cubic"', 'upsample must be "bilinear" or "bilinear_corners" or "nearest"'),
        ("labels = 3", "labels must be the path of a file"),
        ('labels = "none.txt"', "none.txt cannot be read"),
        ('geometry = "centre"', 'geometry must be "crop" or "squash" or'),
        ("size = [1, 2, 3]", "size must be a whole number of at least 1, or two in a list"),
        ("crop_pct = 0", "crop_pct must be a number above 0 and up to 1"),
        ("crop_pct = 0.9\nresize = 235", "m.toml: resize and crop_pct both set the side before the crop"),
        ("[table", "cannot be read as TOML"),
    ],
)
def test_invalid_lines_are_named(line: str, message: str, model: Path) -> None:
    key = line.partition(" ")[0]
    kept = [other for other in WHOLE.splitlines() if not other.startswith(f"{key} =")]
    model.with_suffix(".toml").write_text("\n".join([*kept, line]))
    assert message in refused(model)


def test_errors_name_options_by_their_flags(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE)
    assert refused(model, {"class_offset": -1}).startswith("--class-offset must be a whole number")


def test_labels_are_relative_to_the_toml(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE + 'labels = "labels.txt"\n')
    labels = model.parent / "labels.txt"
    labels.write_text("7\n-1\n999\n-1\n")
    assert read_preprocessing(model, {}).labels == (7, -1, 999, -1)
    assert "give one of them" in refused(model, {"class_offset": 1})
    labels.write_text("7\n1000\n")
    assert "labels.txt, line 2: '1000' is neither a label" in refused(model)
    labels.write_text("7\n\n8 9\n")
    assert "labels.txt, line 3: '8 9' is neither a label" in refused(model)


def test_predictions_do_not_depend_on_values_that_only_decide_shards() -> None:
    assert replace(PLAIN, geometry="crop", size=224, resize=235).of_predictions() == PLAIN.of_predictions()
    detector = replace(PLAIN, head="yolox")
    assert replace(detector, size=416).of_predictions() != detector.of_predictions()
    of_shards = replace(detector, size=(800, 1333), geometry="keep_ratio").of_predictions()
    assert of_shards == detector.of_predictions()


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    assert "none.onnx is not a file" in refused(tmp_path / "none.onnx")


def test_the_file_in_the_docs_is_read(tmp_path: Path) -> None:
    (block,) = blocks("docs/score.md", "toml")
    (tmp_path / "m.toml").write_text(block)
    (tmp_path / "m.onnx").touch()
    found = read_preprocessing(tmp_path / "m.onnx", {})
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (found.scale, found.channels, found.layout) == (1 / 255, "rgb", "nchw")
