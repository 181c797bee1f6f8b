"""Which shards suit a model: made as its TOML states and the command line asks, or refused."""

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
from pipelines.evaluate.model.geometry import check_geometry, other_reference, overruled, wanted_geometry
from pipelines.evaluate.model.preprocessing import read_preprocessing
from pipelines.evaluate.options import Options as ScoreOptions
from pipelines.generate.options import Options
from pipelines.generate.target import choose_geometry
from pipelines.options import Inputs, Target
from pipelines.shards import FinishedVariant, Shards
from pipelines.store import Disk
from tests.pipelines.evaluate.model.test_preprocessing import PLAIN, WHOLE


def test_shards_are_made_with_the_reference_that_a_model_was_trained_on(tmp_path: Path) -> None:
    asked = ScoreOptions(str(tmp_path / "imagenet"), model="m.onnx", inputs=Inputs("source"))
    trained = replace(PLAIN, reference="pil_bicubic")
    assert ImageMaker(asked, PLAIN).base.name == "pil_bilinear"
    assert ImageMaker(asked, trained).base.name == "pil_bicubic"
    assert ImageMaker(replace(asked, reference="opencv_area"), trained).base.name == "opencv_area"


def test_another_reference_than_the_model_s_is_noted() -> None:
    trained = replace(PLAIN, reference="pil_bicubic")
    assert other_reference(PLAIN, reference()) is None
    assert other_reference(trained, reference("pil_bicubic")) is None
    note = other_reference(trained, reference())
    assert note is not None
    assert "trained on pil+pil_bicubic, but the reference of these shards is pil+pil_bilinear" in note
    assert other_reference(trained, reference(resizes=False)) is None  # without any resize


def test_how_shards_are_made_may_be_stated(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.touch()
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
def test_the_command_line_overrides_the_toml(
    stated: dict[str, Any], asked: Target, expected: tuple[str, tuple[int, ...]]
) -> None:
    wanted = wanted_geometry(replace(PLAIN, **stated), asked, "imagenet")
    assert choose_geometry("imagenet", wanted) == expected
    assert wanted_geometry(PLAIN, asked, "imagenet") == asked


def test_a_detector_s_size_without_a_geometry_is_for_its_dataset_s_default() -> None:
    wanted = wanted_geometry(replace(PLAIN, head="yolox", size=416), Target(), "coco")
    assert choose_geometry("coco", wanted) == ("keep_ratio", (416, 416))


def shards_of(geometry: str, size: int | list[int]) -> Shards:
    """Shards with nothing but a configuration."""
    config = {
        **{"dataset": "imagenet", "geometry": geometry, "size": size, "reference": "pil+pil_bilinear"},
        **{"image_format": "png", "samples_per_shard": 1000, "source": {"kind": "tree"}},
    }
    root = Disk("out/imagenet")
    variant = FinishedVariant(
        "pil_bilinear",
        root / "pil_bilinear",
        {"config": config, "provenance": {"libraries": {}}},
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
        ("letterbox", 640, {"size": 416}),  # refused later if the model's input has a fixed size
        ("letterbox", 640, {}),
    ],
)
def test_shards_that_are_as_stated_are_accepted(geometry: str, size: int | list[int], stated: dict[str, Any]) -> None:
    check_geometry(shards_of(geometry, size), replace(PLAIN, **stated))


def test_existing_shards_must_have_the_requested_reference(tmp_path: Path) -> None:
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
def test_shards_that_are_not_as_stated_are_refused_with_the_command_for_the_right_ones(
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
def test_the_command_line_s_geometry_replaces_the_toml_s(
    stated: dict[str, Any], geometry: str | None, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    preprocessing = replace(PLAIN, **{**stated, "size": 227})
    found = overruled(preprocessing, Target(geometry))
    printed = capsys.readouterr().err
    if kept:
        assert found == preprocessing
        assert not printed
        return
    assert choose_geometry("imagenet", wanted_geometry(found, Target(geometry), "imagenet")) == (geometry, (227,))
    check_geometry(shards_of("squash", 227), found)
    assert ("asks for --geometry" in printed) == ("geometry" in stated)
