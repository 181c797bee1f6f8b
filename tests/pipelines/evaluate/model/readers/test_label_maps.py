"""A segmentation model's outputs as label maps, in every form of export, and the errors for other outputs."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper
from PIL import Image as Pillow

from generators.boxes import NONE
from pipelines.errors import UsageError
from pipelines.evaluate.keys import label_map_paths
from pipelines.evaluate.model.inputs import Image, fitting
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.readers import kind_for
from pipelines.evaluate.model.readers.label_maps import LabelMaps, Segmenter
from pipelines.evaluate.model.runtimes import Input
from pipelines.evaluate.segmentation import Segmentation
from pipelines.evaluate.statistics import Bootstrap
from pipelines.shards import Shards
from tests.pipelines.evaluate.conftest import LabelMap
from tests.pipelines.evaluate.model.models import predict_plain, save
from tests.pipelines.evaluate.model.readers.test_upsampling import interpolated
from tests.steps import result_of

STATED = Preprocessing((0.5, 0.4, 0.3), (0.25, 0.25, 0.25), 1 / 255, "rgb", "nchw")
HEIGHT, WIDTH = 48, 96
INPUTS = fitting(Input("image", np.dtype(np.float32), None, None, None), STATED, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
SCORES = np.random.default_rng(4).normal(size=(2, 19, HEIGHT, WIDTH)).astype(np.float32)
CLASSES = SCORES.argmax(axis=1)


def read(output: NDArray[Any], preprocessing: Preprocessing = STATED) -> LabelMap:
    """The label maps of two images, by a reader made from the first image's output."""
    reader = Segmenter(preprocessing, INPUTS, {"out": output[:1]})
    (rows,) = reader.read({"out": output}, [Image("a", {}, 0, 0), Image("b", {}, 0, 0)], [NONE])
    assert [key for key, _ in rows] == ["a", "b"]
    return np.stack([np.asarray(Pillow.open(io.BytesIO(png))) for _, png in rows])


def refused(outputs: dict[str, NDArray[Any]], preprocessing: Preprocessing = STATED) -> str:
    with pytest.raises(UsageError) as caught:
        Segmenter(preprocessing, INPUTS, outputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "output",
    [
        SCORES,
        SCORES.transpose(0, 2, 3, 1),
        CLASSES,
        CLASSES[:, None].astype(np.int32),
        CLASSES[..., None].astype(np.uint8),
        CLASSES.astype(np.float32),
    ],
)
def test_every_form_gives_the_same_label_map(output: NDArray[Any]) -> None:
    np.testing.assert_array_equal(read(output), CLASSES)


def test_quantised_scores() -> None:
    steps = (SCORES * 30).round().clip(-128, 127).astype(np.int8)
    np.testing.assert_array_equal(read(steps), steps.argmax(axis=1))
    np.testing.assert_array_equal(read((steps + 128.0).astype(np.uint8)), steps.argmax(axis=1))


def test_a_fraction_of_the_size_is_upsampled_as_stated() -> None:
    small = SCORES[:, :, ::8, ::8]
    message = refused({"out": small[:1]})
    assert "12x6 pixels for 96x48: state in its TOML how to upsample" in message
    assert 'upsample = "bilinear" or upsample = "bilinear_corners" or upsample = "nearest"' in message
    for mode in ("bilinear", "bilinear_corners"):
        for output in (small, np.ascontiguousarray(small.transpose(0, 2, 3, 1))):
            theirs = np.stack([interpolated(own, (HEIGHT, WIDTH), mode) for own in np.ascontiguousarray(small)])
            second, first = np.sort(theirs, axis=1)[:, -2:].transpose(1, 0, 2, 3)
            clear = first - second > 1e-5
            np.testing.assert_array_equal(
                read(output, replace(STATED, upsample=mode))[clear], theirs.argmax(axis=1)[clear]
            )
    expected = small.argmax(axis=1).repeat(8, axis=1).repeat(8, axis=2)
    np.testing.assert_array_equal(read(small, replace(STATED, upsample="nearest")), expected)
    np.testing.assert_array_equal(read(small.argmax(axis=1), replace(STATED, upsample="nearest")), expected)
    message = refused({"out": small.argmax(axis=1)[:1]}, replace(STATED, upsample="bilinear"))
    assert "puts out classes (12x6 pixels for 96x48), which cannot be interpolated" in message
    assert message.endswith('give upsample = "nearest"')


def test_pooling_in_ceil_mode_may_add_a_row() -> None:
    """A reader made for the model as it is also reads the noised model's outputs."""
    reader = Segmenter(replace(STATED, upsample="nearest"), INPUTS, {"out": SCORES[:1, :, ::8, ::8]})
    more = np.pad(SCORES[:1, :, ::8, ::8], [(0, 0), (0, 0), (0, 1), (0, 1)])
    ((_, png),) = reader.read({"out": more}, [Image("a", {}, 0, 0)], [NONE])[0]
    assert Pillow.open(io.BytesIO(png)).size == (WIDTH, HEIGHT)
    exact = Segmenter(STATED, INPUTS, {"out": SCORES[:1]})
    with pytest.raises(UsageError, match="97x49 pixels for 96x48: state in its TOML how to upsample"):
        exact.read({"out": np.pad(SCORES[:1], [(0, 0), (0, 0), (0, 1), (0, 1)])}, [Image("a", {}, 0, 0)], [NONE])


def test_labels_map_a_model_s_classes() -> None:
    order = np.random.default_rng(1).permutation(19)
    np.testing.assert_array_equal(read(SCORES[:, order], replace(STATED, labels=tuple(order.tolist()))), CLASSES)
    # A background that would win everywhere, but is not one of the dataset's classes
    more = np.concatenate([SCORES[:, :1] + 99, SCORES], axis=1)
    with_background = replace(STATED, labels=(-1, *range(19)))
    assert "are not scores (1, 19, height, width)" in refused({"out": more[:1]})
    np.testing.assert_array_equal(read(more, with_background), CLASSES)
    np.testing.assert_array_equal(read(CLASSES + 1, with_background), CLASSES)
    with pytest.raises(UsageError, match="map has the class 0, for which labels has -1"):
        read(CLASSES, with_background)
    # Two of the model's classes may be the same class of the dataset
    halves = np.concatenate([SCORES, SCORES[:, 3:4] + 0.5], axis=1)
    expected = np.where(halves.argmax(axis=1) == 19, 3, halves.argmax(axis=1))
    np.testing.assert_array_equal(read(halves, replace(STATED, labels=(*range(19), 3))), expected)


def test_which_output_is_read() -> None:
    outputs = {"aux": SCORES[:1] * 2, "out": SCORES[:1]}
    assert 'such as output = "aux"' in refused(outputs)
    assert Segmenter(replace(STATED, output="out"), INPUTS, outputs).names == ("out",)
    both = {"map": CLASSES[:1], "out": SCORES[:1]}
    reader = Segmenter(STATED, INPUTS, both)
    assert (reader.names, reader.note) == (("out",), "the model's output out is read; map is ignored")
    assert Segmenter(replace(STATED, output="map"), INPUTS, both).names == ("map",)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (SCORES[:1].transpose(0, 1, 3, 2), "48x96 pixels for 96x48, which is another aspect ratio"),
        (np.zeros((1, 1000), np.float32), r"(out float32 1x1000) are not scores (1, 19, height, width)"),
        (np.full((1, 1, HEIGHT, WIDTH), 0.5, np.float32), "nor a map (1, height, width) of integers"),
        (np.zeros((1, 19, 19, 19), np.float32), "may have their classes on either of two axes"),
    ],
)
def test_unreadable_outputs_are_refused(output: NDArray[Any], message: str) -> None:
    assert message in refused({"out": output}, replace(STATED, upsample="nearest"))


def test_invalid_classes_are_refused() -> None:
    for strange, message in ((255, "has 255, but its classes are 0 to 18: give labels"), (-1, "has -1, but")):
        with pytest.raises(UsageError, match=message):
            read(np.where(CLASSES == 7, strange, CLASSES))
    reader = Segmenter(STATED, INPUTS, {"out": CLASSES[:1].astype(np.float32)})
    with pytest.raises(UsageError, match=r"has 0\.5, but"):
        reader.read({"out": np.full((1, HEIGHT, WIDTH), 0.5, np.float32)}, [Image("a", {}, 0, 0)], [NONE])
    assert not reader.are_scores(np.array([np.inf], np.float32))


def test_keys_of_other_kinds_of_models_are_refused() -> None:
    for changed, message in (
        ({"head": "yolox"}, 'head = "yolox" is for COCO shards'),
        ({"class_offset": 1}, "give labels with the train id of each class"),
        ({"labels": (19, 18)}, "labels has 19"),
        ({"labels": (-1, -1)}, "labels has -1 for every class"),
    ):
        with pytest.raises(UsageError, match=message):
            kind_for("cityscapes", replace(STATED, **changed))


def test_a_folder_is_written_in_parts(tmp_path: Path) -> None:
    form = LabelMaps()
    form.write([("a", b"1"), ("b", b"2")], tmp_path / "first")
    form.write([("c", b"3")], tmp_path / "second")
    form.join([tmp_path / "first", tmp_path / "second"], tmp_path / "whole")
    found = label_map_paths(tmp_path / "whole", ["a", "b", "c"])
    assert {key: path.read_bytes() for key, path in found.items()} == {"a": b"1", "b": b"2", "c": b"3"}


def test_a_network_on_shards_is_numpy_s(towns: Shards, tmp_path: Path) -> None:
    """From pixels to label maps with ONNX Runtime at a quarter of the size; they can be scored."""
    weights = np.random.default_rng(2).normal(size=(19, 3)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["small", "weights"], ["out"], kernel_shape=[1, 1]),
    ]
    model = save(tmp_path / "m.onnx", nodes, {"weights": weights[:, :, None, None]}, (1, 3, HEIGHT, WIDTH))
    predict_plain(towns, model, replace(STATED, upsample="bilinear"), tmp_path / "out")
    for stored in towns.stored("pil"):
        pixels = np.asarray(Pillow.open(io.BytesIO(stored.members["png"])), np.float64)
        normalised = (pixels / 255 - STATED.mean) / STATED.std
        small = normalised.reshape(HEIGHT // 4, 4, WIDTH // 4, 4, 3).mean(axis=(1, 3)) @ weights.T
        theirs = interpolated(np.ascontiguousarray(small.transpose(2, 0, 1), np.float32), (HEIGHT, WIDTH), "bilinear")
        second, first = np.sort(theirs, axis=0)[-2:]
        clear = first - second > 1e-4
        found = np.asarray(Pillow.open(tmp_path / "out" / "pil" / f"{stored.key}.png"))
        np.testing.assert_array_equal(found[clear], theirs.argmax(axis=0)[clear])
        assert clear.mean() > 0.99
    task = Segmentation(towns, tmp_path / "out" / "pil", Bootstrap(20, 0))
    score = result_of(task.score("nv12_opencv", tmp_path / "out" / "nv12_opencv"))
    assert 0 < score.figures["miou"] < 1
