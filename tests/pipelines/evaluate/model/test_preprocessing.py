"""What a model's TOML and options may say, and what is answered to what they may not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import generate
from generators.variant import reference
from pipelines.command import options_of
from pipelines.errors import UsageError
from pipelines.evaluate.making import ImageMaker
from pipelines.evaluate.model.preprocessing import (
    Preprocessing,
    check_geometry,
    other_reference,
    overruled,
    read_preprocessing,
    wanted_geometry,
)
from pipelines.evaluate.options import Options as ScoreOptions
from pipelines.generate.options import Options
from pipelines.generate.target import choose_geometry
from pipelines.options import Inputs, Target
from pipelines.shards import FinishedVariant, Shards
from pipelines.store import Disk
from tests.test_readme import blocks

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


def test_the_toml_beside_the_model_is_read_and_options_come_first(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE)
    expected = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255, "rgb", "nchw")
    assert read_preprocessing(model, {"batch": None}) == expected
    found = read_preprocessing(model, {"channels": "bgr", "scale": 1, "batch": 4})
    assert (found.channels, found.scale, found.batch, found.mean) == ("bgr", 1.0, 4, expected.mean)


def test_what_a_model_was_trained_on_is_the_reference_that_shards_are_made_with(tmp_path: Path) -> None:
    asked = ScoreOptions(str(tmp_path / "imagenet"), model="m.onnx", inputs=Inputs("source"))
    trained = replace(PLAIN, reference="pil_bicubic")
    assert ImageMaker(asked, PLAIN).base.name == "pil_bilinear"
    assert ImageMaker(asked, trained).base.name == "pil_bicubic"
    assert ImageMaker(replace(asked, reference="opencv_area"), trained).base.name == "opencv_area"


def test_shards_with_another_reference_than_the_model_s_are_named_so() -> None:
    trained = replace(PLAIN, reference="pil_bicubic")
    assert other_reference(PLAIN, reference()) is None
    assert other_reference(trained, reference("pil_bicubic")) is None
    note = other_reference(trained, reference())
    assert note is not None
    assert "trained on pil+pil_bicubic, and the reference of these shards is pil+pil_bilinear" in note
    assert other_reference(trained, reference(resizes=False)) is None  # where there is no resize at all


@pytest.mark.parametrize("value", ['"bicubic"', "3", '"ceil_mode"', '"paper"'])
def test_a_reference_that_is_none_is_refused(model: Path, value: str) -> None:
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


def test_each_head_has_the_thresholds_of_its_own_evaluation(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE + 'head = "nanodet"\n')
    found = read_preprocessing(model, {})
    assert (found.score_threshold, found.nms_iou) == (0.05, 0.6)
    assert read_preprocessing(model, {"nms_iou": 0.7}).nms_iou == 0.7
    found = read_preprocessing(model, {"head": "yolox"})
    assert (found.score_threshold, found.nms_iou) == (0.01, 0.65)
    found = read_preprocessing(model, {"head": "detr"})
    assert (found.score_threshold, found.nms_iou) == (0, None)


def test_what_predictions_of_an_earlier_version_depended_on_is_as_it_was(model: Path) -> None:
    """Word for word what stood in its `predictions.json`; a head that is left out is not named."""
    earlier = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "scale": 1 / 255, "channels": "rgb"}
    earlier |= {"layout": "nchw", "class_offset": 0, "labels": None, "pad": None, "placement": None, "batch": 1}
    model.with_suffix(".toml").write_text(WHOLE)
    for head, score, iou in ((None, 0.01, 0.65), ("yolox", 0.01, 0.65), ("nanodet", 0.05, 0.6)):
        now = read_preprocessing(model, {"head": head}).of_predictions()
        for key in ("boxes", "output", "upsample"):
            assert now.pop(key) is None  # which `predictions.json` need not say
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
        ('head = "yolo"', 'head must be "yolox" or "nanodet" or'),
        ('boxes = "source"', 'boxes must be "pixels" or "shares"'),
        ("score_threshold = 0.3", "score_threshold would change a head's own: give the head as well"),
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
        ("crop_pct = 0.9\nresize = 235", "m.toml: resize and crop_pct both say what is before the crop"),
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
    assert "labels.txt, line 2: '1000' is neither a label" in refused(model)
    labels.write_text("7\n\n8 9\n")
    assert "labels.txt, line 3: '8 9' is neither a label" in refused(model)


def test_what_shards_are_made_with_may_be_stated(model: Path) -> None:
    model.with_suffix(".toml").write_text(WHOLE + 'geometry = "crop"\nsize = 224\ncrop_pct = 0.95\n')
    found = read_preprocessing(model, {})
    assert (found.geometry, found.size, found.resize, found.crop_pct) == ("crop", 224, None, 0.95)
    assert choose_geometry("imagenet", wanted_geometry(found, Target(), "imagenet")) == ("crop", (224, 235))


CROP: dict[str, Any] = {"geometry": "crop", "size": 224, "resize": 235}


@pytest.mark.parametrize(
    ("stated", "asked", "expected"),
    [
        (CROP, Target(), ("crop", (224, 235))),
        (CROP, Target(resize=240), ("crop", (224, 240))),
        (CROP, Target(crop_pct=1.0), ("crop", (224, 224))),
        (CROP, Target(size=(160,)), ("crop", (160,))),
        (CROP, Target("squash"), ("squash", (224, 235))),
        (CROP, Target("stretch"), ("stretch", (224,))),
        ({"geometry": "crop", "crop_pct": 0.9}, Target(size=(240,)), ("crop", (240, 266))),
        ({"geometry": "keep_ratio", "size": 416}, Target(), ("keep_ratio", (416, 416))),
        ({"geometry": "keep_ratio", "size": (800, 1333)}, Target(), ("keep_ratio", (800, 1333))),
        ({"size": 227}, Target(), ("crop", (227,))),
        ({}, Target(), ("crop", (224,))),
    ],
)
def test_the_command_line_comes_before_the_toml(
    stated: dict[str, Any], asked: Target, expected: tuple[str, tuple[int, ...]]
) -> None:
    wanted = wanted_geometry(replace(PLAIN, **stated), asked, "imagenet")
    assert choose_geometry("imagenet", wanted) == expected
    assert wanted_geometry(PLAIN, asked, "imagenet") == asked


def test_a_detector_s_size_alone_is_that_of_its_dataset_s_geometry() -> None:
    wanted = wanted_geometry(replace(PLAIN, head="yolox", size=416), Target(), "coco")
    assert choose_geometry("coco", wanted) == ("keep_ratio", (416, 416))


def shards_of(geometry: str, size: int | list[int]) -> Shards:
    """Shards of which only the configuration is looked at."""
    config = {
        **{"dataset": "imagenet", "geometry": geometry, "size": size, "reference": "pil+pil_bilinear"},
        **{"image_format": "png", "samples_per_shard": 1000, "source": {"kind": "tree"}},
    }
    root = Disk("out/imagenet")
    variant = FinishedVariant(
        "pil_bilinear", root / "pil_bilinear", {"config": config, "provenance": {"libraries": {}}}
    )
    return Shards(root, variant, {variant.name: variant}, ())


@pytest.mark.parametrize(
    ("geometry", "size", "stated"),
    [
        ("crop", [224, 235], CROP),
        ("crop", [224, 235], {"crop_pct": 0.95}),
        ("crop", [224, 235], {"geometry": "crop"}),
        ("crop", [224, 235], {"geometry": "crop", "size": 224}),
        ("crop", 224, {"geometry": "crop", "resize": 256}),
        ("squash", 227, {"geometry": "squash", "size": 227}),
        ("keep_ratio", [416, 416], {"geometry": "keep_ratio", "size": 416}),
        ("stretch", [640, 480], {"geometry": "stretch", "size": (640, 480)}),
        ("letterbox", 640, {"size": 416}),  # which the input's own size refuses, where it is fixed
        ("letterbox", 640, {}),
    ],
)
def test_shards_that_are_as_stated_are_taken(geometry: str, size: int | list[int], stated: dict[str, Any]) -> None:
    check_geometry(shards_of(geometry, size), replace(PLAIN, **stated))


def test_shards_that_are_there_have_the_reference_that_is_asked_for(tmp_path: Path) -> None:
    asked = ScoreOptions(str(tmp_path / "imagenet"), model="m.onnx", inputs=Inputs("source"), reference="pil_bicubic")
    with pytest.raises(UsageError, match=r"whose reference is pil\+pil_bilinear, and --reference asks for another"):
        ImageMaker(asked, PLAIN).check(shards_of("crop", 224))


@pytest.mark.parametrize(
    ("geometry", "size", "stated", "right"),
    [
        ("crop", 224, CROP, "--geometry crop --size 224 --resize 235"),
        ("crop", [224, 240], CROP, "--geometry crop --size 224 --resize 235"),
        ("crop", 227, {"geometry": "squash"}, "--geometry squash --size 227"),
        ("crop", 224, {"crop_pct": 1.0}, "--geometry crop --size 224 --resize 224"),
        ("crop", [224, 235], {"geometry": "crop", "size": 288}, "--geometry crop --size 288"),
        ("keep_ratio", [800, 1333], {"geometry": "stretch", "size": (640, 480)}, "--geometry stretch --size 640,480"),
    ],
)
def test_shards_that_are_not_as_stated_are_named_with_the_command(
    geometry: str, size: int | list[int], stated: dict[str, Any], right: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_geometry(shards_of(geometry, size), replace(PLAIN, **stated))
    message = str(caught.value)
    assert f"asks for shards of {right}, and out/imagenet has --geometry {geometry} --size" in message
    command = message.partition("generate.py ")[2].split()
    options = options_of(generate._parser().parse_args(command), Options)
    wanted = choose_geometry("imagenet", options.target)
    check_geometry(shards_of(wanted[0], list(wanted[1])), replace(PLAIN, **stated))


@pytest.mark.parametrize(
    ("stated", "geometry", "kept"),
    [
        (CROP, None, True),
        (CROP, "crop", True),
        ({"crop_pct": 0.95}, "crop", True),
        ({"crop_pct": 0.95}, "squash", False),
        (CROP, "squash", False),
        ({"geometry": "stretch", "resize": None}, "squash", False),
    ],
)
def test_a_geometry_of_the_command_line_is_in_place_of_the_toml_s(
    stated: dict[str, Any], geometry: str | None, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    preprocessing = replace(PLAIN, **{**stated, "size": 227})
    found = overruled(preprocessing, Target(geometry))
    said = capsys.readouterr().err
    if kept:
        assert found == preprocessing
        assert not said
        return
    assert choose_geometry("imagenet", wanted_geometry(found, Target(geometry), "imagenet")) == (geometry, (227,))
    check_geometry(shards_of("squash", 227), found)
    assert ("asks for --geometry" in said) == ("geometry" in stated)


def test_what_decides_shards_alone_is_not_what_predictions_depend_on() -> None:
    assert replace(PLAIN, **CROP).of_predictions() == PLAIN.of_predictions()
    detector = replace(PLAIN, head="yolox")
    assert replace(detector, size=416).of_predictions() != detector.of_predictions()
    of_shards = replace(detector, size=(800, 1333), geometry="keep_ratio").of_predictions()
    assert of_shards == detector.of_predictions()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    assert "none.onnx is no file" in refused(tmp_path / "none.onnx")


def test_the_readme_s_file_is_read(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    (tmp_path / "m.toml").write_text(block)
    (tmp_path / "m.onnx").touch()
    found = read_preprocessing(tmp_path / "m.onnx", {})
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (found.scale, found.channels, found.layout) == (1 / 255, "rgb", "nchw")
