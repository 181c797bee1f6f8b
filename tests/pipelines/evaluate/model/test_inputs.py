"""Inputs other than float32 NCHW: their types, channel orders, layouts and batches, against NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import as_it_is
from pipelines.evaluate.model.inputs import fitting
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.runtimes import open_session
from tests.pipelines.evaluate.model.models import Dims

AS_THEY_ARE = Preprocessing((0, 0, 0), (1, 1, 1), 1, "rgb", "nchw")
NORMALISED = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255, "bgr", "nchw")
PIXELS = np.random.default_rng(3).integers(0, 256, (6, 5, 3), np.uint8)
TYPES = {
    **{name: helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in ("float16", "float32", "float64")},
    **{
        f"{s}int{b}": helper.np_dtype_to_tensor_dtype(np.dtype(f"{s}int{b}"))
        for s in ("", "u")
        for b in (8, 16, 32, 64)
    },
}
ALL_OPEN = ("n", "c", "h", "w")


def passing(path: Path, taken: int, shape: Dims = ALL_OPEN, extra: Sequence[onnx.NodeProto] = ()) -> Path:
    """A model that outputs its input, or the value `made` that the `extra` nodes compute of it, as float64."""
    nodes = [*extra, helper.make_node("Cast", ["made" if extra else "image"], ["out"], to=TensorProto.DOUBLE)]
    graph = helper.make_graph(
        nodes,
        "passing",
        [helper.make_tensor_value_info("image", taken, shape)],
        [helper.make_tensor_value_info("out", TensorProto.DOUBLE, None)],
    )
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    return path


def taken(model: Path, preprocessing: Preprocessing) -> tuple[NDArray[Any], str]:
    """A model's output for the image, and the note on its input."""
    session = open_session(as_it_is(model), preprocessing.layout, "cpu")
    inputs = fitting(session.input, preprocessing, PIXELS)
    batch = inputs.batch(1)
    inputs.place("key", {}, PIXELS, batch[0])
    return session.run(batch)["out"], inputs.note


def refused(model: Path, preprocessing: Preprocessing = AS_THEY_ARE) -> str:
    with pytest.raises(UsageError) as caught:
        taken(model, preprocessing)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", [name for name in TYPES if name != "int8"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_model_that_normalises_itself_gets_pixels_in_its_own_type(tmp_path: Path, name: str, layout: str) -> None:
    found, note = taken(passing(tmp_path / "m.onnx", TYPES[name]), replace(AS_THEY_ARE, layout=layout))
    expected = PIXELS if layout == "nhwc" else PIXELS.transpose(2, 0, 1)
    np.testing.assert_array_equal(found[0], expected)
    assert note == ""


@pytest.mark.parametrize(("name", "digits"), [("float16", 3), ("float32", 6), ("float64", 6)])
def test_floats_are_normalised(tmp_path: Path, name: str, digits: int) -> None:
    found, _ = taken(passing(tmp_path / "m.onnx", TYPES[name]), NORMALISED)
    expected = (PIXELS[..., ::-1] / 255 - NORMALISED.mean) / NORMALISED.std
    np.testing.assert_allclose(found[0], expected.transpose(2, 0, 1), rtol=0.6 * 10.0**-digits)


def test_float64_inputs_keep_their_precision(tmp_path: Path) -> None:
    """The model outputs what single precision would lose of each value."""
    rest = [
        helper.make_node("Cast", ["image"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["single"], ["again"], to=TensorProto.DOUBLE),
        helper.make_node("Sub", ["image", "again"], ["made"]),
    ]
    found, _ = taken(passing(tmp_path / "m.onnx", TensorProto.DOUBLE, extra=rest), NORMALISED)
    values = ((PIXELS[..., ::-1] / 255 - NORMALISED.mean) / NORMALISED.std).transpose(2, 0, 1)
    np.testing.assert_allclose(found[0], values - values.astype("f4"), atol=1e-12)
    assert np.abs(found).max() > 1e-9


def test_uint8_inputs_get_pixels_whatever_normalisation_is_stated(tmp_path: Path) -> None:
    found, note = taken(
        passing(tmp_path / "m.onnx", TensorProto.UINT8, (1, "h", "w", 3)), replace(NORMALISED, layout="nhwc")
    )
    np.testing.assert_array_equal(found[0], PIXELS[..., ::-1])
    assert "the model takes uint8 and gets the pixels as they are" in note
    assert "-2.118 to 2.64" in note


def test_other_integer_inputs_need_stated_integers(tmp_path: Path) -> None:
    model = passing(tmp_path / "m.onnx", TensorProto.INT8)
    assert "the model takes int8, and mean, std and scale give 0 to 255: give mean = [128, 128, 128]" in refused(model)
    found, _ = taken(model, replace(AS_THEY_ARE, mean=(128, 128, 128)))
    np.testing.assert_array_equal(found[0], PIXELS.transpose(2, 0, 1) - 128.0)
    model = passing(tmp_path / "m.onnx", TensorProto.UINT64)
    assert "the model takes uint64, and mean, std and scale give -104 to" in refused(
        model, replace(AS_THEY_ARE, mean=(104, 0, 0))
    )
    assert "give mean = [0, 0, 0]" in refused(passing(tmp_path / "m.onnx", TensorProto.INT32), NORMALISED)


@pytest.mark.parametrize(
    ("shape", "layout", "message"),
    [
        ((1, "h", "w", 3), "nchw", 'give layout = "nhwc"'),
        ((1, None, None, 3), "nchw", 'give layout = "nhwc"'),
        ((1, 3, "h", "w"), "nhwc", 'give layout = "nchw"'),
        ((1, 1, "h", "w"), "nchw", "it must take three channels"),
        ((1, 4, 4, 4), "nhwc", "it must take three channels"),
    ],
)
def test_the_other_layout_is_recognised(tmp_path: Path, shape: Dims, layout: str, message: str) -> None:
    assert message in refused(
        passing(tmp_path / "m.onnx", TensorProto.FLOAT, shape), replace(AS_THEY_ARE, layout=layout)
    )


def test_weights_among_the_inputs_need_not_be_given(tmp_path: Path) -> None:
    """All models listed them before ONNX's IR version 4."""
    model = onnx.load(passing(tmp_path / "m.onnx", TensorProto.FLOAT))
    model.graph.node[0].CopyFrom(helper.make_node("Add", ["image", "w"], ["sum"]))
    model.graph.node.append(helper.make_node("Cast", ["sum"], ["out"], to=TensorProto.DOUBLE))
    model.graph.initializer.append(numpy_helper.from_array(np.array([7], np.float32), "w"))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    model.ir_version = 3
    onnx.save(model, tmp_path / "m.onnx")
    np.testing.assert_array_equal(taken(tmp_path / "m.onnx", AS_THEY_ARE)[0][0], PIXELS.transpose(2, 0, 1) + 7.0)
    del model.graph.initializer[:]
    onnx.save(model, tmp_path / "m.onnx")
    message = refused(tmp_path / "m.onnx")
    assert "does not take one batch of images as numbers; its inputs: image tensor(float)" in message
    assert "w tensor(float) [1]" in message


def test_padding_a_batch_does_not_cut_outputs_without_a_batch_axis(tmp_path: Path) -> None:
    model = onnx.load(passing(tmp_path / "m.onnx", TensorProto.FLOAT, (4, 3, "h", "w")))
    model.graph.node.append(helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0))
    model.graph.node.append(helper.make_node("Size", ["image"], ["size"]))
    for name, kind in (("most", TensorProto.FLOAT), ("size", TensorProto.INT64)):
        model.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    onnx.save(model, tmp_path / "m.onnx")
    session = open_session(as_it_is(tmp_path / "m.onnx"), "nchw", "cpu")
    batch = np.arange(3 * 3 * 2 * 2, dtype=np.float32).reshape(3, 3, 2, 2)
    found = session.run(batch)
    np.testing.assert_array_equal(found["out"], batch)
    assert (found["most"].item(), found["size"].item()) == (35, 48)
    assert list(session.run(batch, ["size", "most"])) == ["most", "size"]
