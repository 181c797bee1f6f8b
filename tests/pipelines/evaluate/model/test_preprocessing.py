"""What a model's TOML and options may say, and what is answered to what they may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UsageError
from pipelines.evaluate.model.preprocessing import Preprocessing, read_preprocessing
from tests.test_readme import blocks

WHOLE = """
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
scale = "1/255"
channels = "rgb"
layout = "nchw"
"""


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


def test_the_toml_beside_the_model_is_read_and_options_come_first(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE)
    expected = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255, "rgb", "nchw")
    assert read_preprocessing(model, {"batch": None}) == expected
    found = read_preprocessing(model, {"channels": "bgr", "scale": 1, "batch": 4})
    assert (found.channels, found.scale, found.batch, found.mean) == ("bgr", 1.0, 4, expected.mean)


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


def test_each_head_has_the_thresholds_of_its_own_evaluation(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE + 'head = "nanodet"\n')
    found = read_preprocessing(model, {})
    assert (found.score_threshold, found.nms_iou) == (0.05, 0.6)
    assert read_preprocessing(model, {"nms_iou": 0.7}).nms_iou == 0.7
    found = read_preprocessing(model, {"head": "yolox"})
    assert (found.score_threshold, found.nms_iou) == (0.01, 0.65)


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
        ('head = "ssd"', 'head must be "yolox" or "nanodet"'),
        ("pad = 256", "pad must be a whole number from 0 to 255"),
        ("batch = 0", "batch must be a whole number of at least 1"),
        ("batch = 1.5", "batch must be a whole number of at least 1"),
        ("nms_iou = 2", "nms_iou must be a number from 0 to 1"),
        ("labels = 3", "labels must be the path of a file"),
        ('labels = "none.txt"', "none.txt cannot be read"),
        ("[table", "cannot be read as TOML"),
    ],
)
def test_what_a_toml_may_not_say(line: str, message: str, model: Path) -> None:
    key = line.partition(" ")[0]
    kept = [other for other in WHOLE.splitlines() if not other.startswith(f"{key} =")]
    model.with_suffix(".toml").write_text("\n".join([*kept, line]))
    assert message in refused(model)


def test_options_are_named_as_options(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE)
    assert refused(model, {"class_offset": -1}).startswith("--class-offset must be a whole number")


def test_labels_are_relative_to_the_toml(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE + 'labels = "labels.txt"\n')
    labels = model.parent / "labels.txt"
    labels.write_text("7\n-1\n999\n-1\n")
    assert read_preprocessing(model, {}).labels == (7, -1, 999, -1)
    assert "give one of them" in refused(model, {"class_offset": 1})
    labels.write_text("7\n1000\n")
    assert "labels.txt, line 2: '1000' is no label" in refused(model)
    labels.write_text("7\n8\n7\n")
    assert "label 7 more than once" in refused(model)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    assert "none.onnx is no file" in refused(tmp_path / "none.onnx")


def test_the_readme_s_file_is_read(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    (tmp_path / "m.toml").write_text(block)
    (tmp_path / "m.onnx").touch()
    found = read_preprocessing(tmp_path / "m.onnx", {})
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (found.scale, found.channels, found.layout) == (1 / 255, "rgb", "nchw")
