from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper

from generators.models import files
from generators.models.graph import ModelError
from generators.models.pool import ceil_mode, ceil_mode_average, floor_mode
from tests.generators.models import tiny


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """A pool on one axis, as torch allows it."""
    kernel, stride = draw(st.integers(1, 5)), draw(st.integers(2, 5))
    padding, dilation = draw(st.integers(0, kernel // 2)), draw(st.sampled_from([1, 1, 1, 2, 3]))
    length = draw(st.integers(max(1, dilation * (kernel - 1) + 1 - 2 * padding), 24))
    return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "length": length}


def pool(operator: str, drawn: dict[str, Any], **more: Any) -> Any:
    kernel, stride, padding = drawn["kernel"], drawn["stride"], drawn["padding"]
    if drawn["dilation"] > 1:
        more["dilations"] = [drawn["dilation"], 1]
    pads = [padding, 0, padding, 0]
    return helper.make_node(
        operator, ["image"], ["out"], kernel_shape=[kernel, 1], strides=[stride, 1], pads=pads, name="pool", **more
    )


@settings(max_examples=80)
@given(windows(), st.sampled_from([8, 10, 12, 22]), st.booleans())
def test_max_pools_equal_torch(drawn: dict[str, Any], opset: int, up: bool) -> None:
    torch = tiny.pytorch()
    assume(drawn["dilation"] == 1 or opset >= 10)
    assume(up or opset >= 10)
    image = tiny.pixels(2, 3, drawn["length"], 2)
    window = [(drawn[name], other) for name, other in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1))]
    expected = torch.nn.functional.max_pool2d(torch.from_numpy(image), *window, ceil_mode=up).numpy()
    assume(np.isfinite(expected).all())  # a dilated window may contain only padding
    model = tiny.model([pool("MaxPool", drawn, **({} if up else {"ceil_mode": 1}))], None, opset)
    gaps = drawn["stride"] + drawn["padding"] > drawn["dilation"] * (drawn["kernel"] - 1) + 1
    if up and gaps and drawn["dilation"] > 1 < drawn["kernel"]:
        with pytest.raises(ModelError, match="MaxPool 'pool': its dilated windows leave gaps"):
            ceil_mode(model)
        return
    changes = (ceil_mode if up else floor_mode)(model)
    assert [(change.node, change.operator) for change in changes] == [("pool", "MaxPool")]
    assert np.array_equal(tiny.run(model, image)[0], expected)


@settings(max_examples=80)
@given(windows(), st.sampled_from([8, 10, 12, 22]), st.booleans(), st.booleans())
def test_average_pools_equal_torch(drawn: dict[str, Any], opset: int, counted: bool, apart: bool) -> None:
    torch = tiny.pytorch()
    drawn["dilation"] = 1
    assume(drawn["kernel"] <= drawn["length"] + 2 * drawn["padding"])
    image = tiny.pixels(2, 3, drawn["length"], 2)
    padding = drawn["padding"]
    window = [(drawn["kernel"], 1), (drawn["stride"], 1), (padding, 0)]
    expected = torch.nn.functional.avg_pool2d(
        torch.from_numpy(image), *window, ceil_mode=True, count_include_pad=counted
    ).numpy()
    node = pool("AveragePool", drawn, count_include_pad=int(counted))
    if apart and counted and opset < 11:  # as torch's exporter used to write it
        pad = helper.make_node("Pad", ["image"], ["padded"], pads=[0, 0, padding, 0, 0, 0, padding, 0])
        node = pool("AveragePool", {**drawn, "padding": 0})
        node.input[0] = "padded"
        model = tiny.model([pad, node], None, opset)
    else:
        model = tiny.model([node], None, opset)
    (change,) = ceil_mode_average(model)
    assert (change.node, change.operator) == ("pool", "AveragePool")
    np.testing.assert_allclose(tiny.run(model, image)[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [1, 1]},
        {"strides": [2, 2], "ceil_mode": 1},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {},
    ],
)
def test_pools_without_a_mode_to_change_are_left_alone(attributes: dict[str, Any]) -> None:
    model = tiny.model([helper.make_node("MaxPool", ["image"], ["out"], kernel_shape=[3, 3], **attributes)])
    before = ir.serde.serialize_model(model).SerializeToString()
    assert ceil_mode(model) == []
    assert ceil_mode_average(model) == []
    assert ir.serde.serialize_model(model).SerializeToString() == before


def test_pools_whose_indices_are_used_are_refused() -> None:
    nodes = [
        helper.make_node("MaxPool", ["image"], ["pool", "indices"], kernel_shape=[2, 2], strides=[2, 2], name="down"),
        helper.make_node("MaxUnpool", ["pool", "indices"], ["out"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    with pytest.raises(ModelError, match="MaxPool 'down': its indices"):
        ceil_mode(tiny.model(nodes))


DOWN = helper.make_node("MaxPool", ["image"], ["down"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, name="down")


@pytest.mark.parametrize(
    ("nodes", "constants", "words"),
    [
        (
            [
                DOWN,
                helper.make_node("Flatten", ["down"], ["flat"]),
                helper.make_node("MatMul", ["flat", "weights"], ["out"], name="fc"),
            ],
            {"weights": tiny.pixels(192, 5)},
            "MatMul 'fc': its weights are for 192 values, and there are 243 now",
        ),
        (
            [
                DOWN,
                helper.make_node("Reshape", ["down", "shape"], ["flat"]),
                helper.make_node("Gemm", ["flat", "weights"], ["out"], name="fc"),
            ],
            {"weights": tiny.pixels(192, 5), "shape": np.array([-1, 192])},
            "Gemm 'fc': its weights are for 192 values",
        ),
        (
            [DOWN, helper.make_node("Add", ["down", "position"], ["out"], name="embed")],
            {"position": tiny.pixels(1, 3, 8, 8)},
            "Add 'embed': its inputs are 1x3x9x9 and 1x3x8x8 now.*open height and width",
        ),
        (
            [DOWN, helper.make_node("Slice", ["down", "zero", "end", "axis"], ["out"], name="crop")],
            {"zero": np.array([0]), "end": np.array([8]), "axis": np.array([2])},
            "Slice 'crop': cuts off at 8 what is 9 long now",
        ),
        (
            [DOWN, helper.make_node("Split", ["down", "parts"], ["out", "other"], axis=3, name="halves")],
            {"parts": np.array([4, 4])},
            r"Split 'halves': it splits into \[4, 4\] what is 9 long",
        ),
        (
            [DOWN, helper.make_node("Reshape", ["down", "shape"], ["out"], name="tiles")],
            {"shape": np.array([1, 3, 4, 2, 4, 2])},
            "Reshape 'tiles': its input is 1x3x9x9, which its shape",
        ),
        (
            [
                DOWN,
                helper.make_node("AveragePool", ["image"], ["mean"], kernel_shape=[2, 2], strides=[2, 2]),
                helper.make_node("Concat", ["down", "mean"], ["out"], axis=1, name="join"),
            ],
            {},
            "Concat 'join': its inputs are 1x3x9x9 and 1x3x8x8 now.*cannot be used this way",
        ),
    ],
)
def test_nodes_that_assume_the_old_size_are_refused_by_name(
    nodes: list[Any], constants: dict[str, Any], words: str
) -> None:
    model = tiny.model(nodes, constants, image=(1, 3, 16, 16))
    with pytest.raises(ModelError, match=words) as raised:
        ceil_mode(model)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("shapes", "moved"),
    [
        ([[1, 2, 3, 8, 8], [1, -1, 8, 8]], [0, 2, 1, 3, 4]),
        ([[0, 2, 3, 8, 8], [0, 6, 8, 8]], [0, 2, 1, 3, 4]),
        ([[3, 2, 64], [2, -1, 3, 8, 8], [1, 6, 8, 8]], [1, 0, 2]),
        ([[1, 6, 64], [1, 6, 8, 8]], [0, 1, 2]),
    ],
)
def test_a_channel_shuffle_is_adapted(shapes: list[list[int]], moved: list[int]) -> None:
    """It does what it did before: with a 1x1 image of constant channels, they end up in the same places."""
    nodes = [DOWN, helper.make_node("Reshape", ["down", "shape0"], ["a"], name="there")]
    nodes.append(helper.make_node("Transpose", ["a"], ["b0"], perm=moved))
    for index in range(1, len(shapes)):
        nodes.append(helper.make_node("Reshape", [f"b{index - 1}", f"shape{index}"], [f"b{index}"]))
    nodes[-1].output[0] = "out"
    constants = {f"shape{index}": np.array(shape) for index, shape in enumerate(shapes)}
    model = tiny.model(nodes, constants, image=(1, 6, 16, 16), out=(1, 6, 8, 8))
    image = np.ones((1, 6, 16, 16), np.float32) * np.arange(6, dtype=np.float32)[None, :, None, None]
    before = tiny.run(model, image)[0]
    changes = ceil_mode(model)
    assert Counter(change.operator for change in changes) == {"MaxPool": 1, "Reshape": len(shapes)}
    after = tiny.run(model, image)[0]
    assert after.shape == (1, 6, 9, 9)
    assert list(model.graph.outputs[0].shape or ()) == [1, 6, 9, 9]
    assert np.array_equal(after[:, :, 0, 0], before[:, :, 0, 0])
    assert np.array_equal(after, np.broadcast_to(after[:, :, :1, :1], after.shape))


def test_lengths_computed_by_rounding_down_are_replaced() -> None:
    """As torch's newer exporter writes them, computed from the input's lengths."""
    nodes = [DOWN, helper.make_node("Shape", ["image"], ["all"])]
    for name in ("h", "w"):
        nodes.append(helper.make_node("Slice", ["all", f"from_{name}", f"to_{name}"], [name]))
        nodes.append(helper.make_node("Div", [name, "two"], [f"half_{name}"]))
    nodes.append(helper.make_node("Concat", ["groups", "half_h", "half_w"], ["shape"], axis=0))
    nodes.append(helper.make_node("Reshape", ["down", "shape"], ["grouped"], name="there"))
    nodes.append(helper.make_node("Transpose", ["grouped"], ["out"], perm=[0, 2, 1, 3, 4]))
    constants = {"two": np.array([2]), "groups": np.array([1, 2, 3])}
    for name, axis in (("h", 2), ("w", 3)):
        constants |= {f"from_{name}": np.array([axis]), f"to_{name}": np.array([axis + 1])}
    model = tiny.model(nodes, constants, image=(1, 6, "height", "width"), out=(1, 3, 2, "y", "x"))
    assert [change.node for change in ceil_mode(model)] == ["down", "there"]
    for height, width in ((64, 96), (32, 48)):
        found = tiny.run(model, tiny.pixels(1, 6, height, width))[0]
        assert found.shape == (1, 3, 2, height // 2 + 1, width // 2 + 1)


def test_a_model_need_not_fit_sizes_that_cannot_be_halved() -> None:
    nodes = [
        helper.make_node("MaxPool", ["image"], ["largest"], kernel_shape=[2, 2], strides=[2, 2], name="down"),
        helper.make_node("AveragePool", ["image"], ["mean"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Add", ["largest", "mean"], ["out"], name="join"),
    ]
    assert [change.node for change in ceil_mode(tiny.model(nodes))] == ["down"]
    with pytest.raises(ModelError, match="Add 'join'"):
        ceil_mode(tiny.model(nodes, image=(1, 3, 33, 33)))


@pytest.mark.parametrize("opset", [9, 10, 11, 13, 18])
@pytest.mark.parametrize("meet", ["Add", "Concat"])
def test_a_resize_takes_the_size_of_the_tensor_it_meets(opset: int, meet: str) -> None:
    """A pyramid that doubled its smaller level, at every input size."""
    conv = helper.make_node("Conv", ["down", "weights"], ["small"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    inputs = (
        ["small", "scales"] if opset < 11 else ["small", "", "scales"] if opset > 12 else ["small", "roi", "scales"]
    )
    resize = helper.make_node("Upsample" if opset == 9 else "Resize", inputs, ["large"], mode="nearest", name="double")
    act = helper.make_node("Sigmoid", ["large"], ["gate"])
    gated = helper.make_node("Mul", ["large", "gate"], ["silu"])
    end = helper.make_node(meet, ["silu", "down"], ["out"])
    if meet == "Concat":
        end.attribute.append(helper.make_attribute("axis", 1))
    constants = {"weights": tiny.pixels(3, 3, 3, 3), "scales": np.array([1, 1, 2, 2], np.float32)}
    if opset in (11, 12):
        constants["roi"] = np.zeros(0, np.float32)
    model = tiny.model([DOWN, conv, resize, act, gated, end], constants, opset, image=("n", 3, "h", "w"))
    changes = ceil_mode(model)
    assert [change.node for change in changes] == ["down", "double"]
    for height, width in ((64, 96), (75, 64), (33, 41)):
        image = tiny.pixels(2, 3, height, width)
        assert tiny.run(model, image)[0].shape[2:] == (height // 2 + 1, width // 2 + 1)


def test_on_real_models(data: Path, tmp_path: Path) -> None:
    def changed(name: str) -> tuple[dict[str, int], ir.Model]:
        model = files.load(data / "models" / f"{name}.onnx")
        return dict(Counter(change.operator for change in ceil_mode(model))), model

    for name in ("squeezenet_v1.0", "squeezenet1_1_224", "yolox_nano", "efficientnet_lite0", "mobilenetv2_int8"):
        assert changed(name)[0] == {}
    found, model = changed("nanodet_320")
    assert found == {"MaxPool": 1, "Reshape": 32}
    path = tiny.saved(model, tmp_path / "nanodet.onnx")
    assert [out.shape[0] for out in tiny.run(path, tiny.pixels(1, 3, 320, 320))] == [1681, 441, 121] * 2
    found, model = changed("fastestdet")
    assert found == {"MaxPool": 1, "Reshape": 26, "Resize": 1}
    path = tiny.saved(model, tmp_path / "fastestdet.onnx")
    assert tiny.run(path, tiny.pixels(1, 3, 352, 352))[0].shape == (1, 85, 23, 23)
    with pytest.raises(ModelError, match="Concat 'Concat_230'"):
        ceil_mode_average(files.load(data / "models" / "fastestdet.onnx"))


@pytest.mark.parametrize(("size", "same"), [(227, True), (224, False)])
def test_floor_mode_on_squeezenet(size: int, same: bool, data: Path, tmp_path: Path) -> None:
    source = data / "models" / "squeezenet_v1.0.onnx"
    model = files.load(source)
    model.graph.inputs[0].shape = ir.Shape(["n", 3, size, size])
    before = tiny.run(tiny.saved(model, tmp_path / "before.onnx"), tiny.pixels(1, 3, size, size) * 100)[0]
    assert [change.operator for change in floor_mode(model)] == ["MaxPool"] * 3
    after = tiny.run(tiny.saved(model, tmp_path / "after.onnx"), tiny.pixels(1, 3, size, size) * 100)[0]
    assert np.array_equal(before, after) is same
