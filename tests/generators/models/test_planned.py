"""The tensors that int8 quantises, and those that it leaves in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from generators.models import precision
from generators.models.graph import ModelError
from tests.generators.models.equations import fake, quantised
from tests.generators.models.networks import (
    IMAGE,
    Array,
    branches,
    data,
    images,
    initializers,
    model,
    operators,
    run,
    two_layers,
)


def layer(kind: str) -> tuple[list[onnx.NodeProto], dict[str, Array], tuple[int, ...], tuple[int, ...]]:
    """Nodes, weights, the shape of the image, and the shape by which channels' scales broadcast over the weights."""
    rng = np.random.default_rng(8)

    def weights(*shape: int) -> dict[str, Array]:
        return {"w": rng.normal(size=shape).astype(np.float32)}

    image = (1, 6, 5, 5)
    if kind == "depthwise":
        return [helper.make_node("Conv", ["image", "w"], ["out"], group=6)], weights(6, 1, 3, 3), image, (6, 1, 1, 1)
    if kind == "transposed":
        return [helper.make_node("ConvTranspose", ["image", "w"], ["out"])], weights(6, 4, 2, 2), image, (1, 4, 1, 1)
    if kind == "transposed depthwise":
        node = helper.make_node("ConvTranspose", ["image", "w"], ["out"], group=6)
        return [node], weights(6, 1, 2, 2), image, (6, 1, 1, 1)
    if kind == "gemm":
        return [helper.make_node("Gemm", ["image", "w"], ["out"], alpha=0.5)], weights(6, 4), (3, 6), (1, 4)
    if kind == "gemm transB":
        return [helper.make_node("Gemm", ["image", "w"], ["out"], transB=1)], weights(4, 6), (3, 6), (4, 1)
    if kind == "matmul":
        return [helper.make_node("MatMul", ["image", "w"], ["out"])], weights(6, 4), (2, 3, 6), (1, 4)
    if kind == "matmul from the left":
        return [helper.make_node("MatMul", ["w", "image"], ["out"])], weights(4, 6), (2, 6, 3), (4, 1)
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weights(6, 4)["w"]))
    return [constant, helper.make_node("MatMul", ["image", "w"], ["out"])], {}, (2, 3, 6), (1, 4)


KINDS = ("depthwise", "transposed", "transposed depthwise", "gemm", "gemm transB", "matmul", "matmul from the left")


@pytest.mark.parametrize("kind", [*KINDS, "constant inside a node"])
def test_int8_has_a_scale_for_each_output_channel(tmp_path: Path, kind: str) -> None:
    nodes, constants, shape, lie = layer(kind)
    calibration = images(9, 4, shape)
    changed = model(nodes, constants, shape)
    (change,) = precision.int8(changed, calibration)
    assert change.what == "weights per channel and input quantised to 8 bits"
    written = data(changed, tmp_path)
    found = initializers(changed)
    (weights,) = (array for array in found.values() if array.dtype == np.int8 and array.ndim > 1)
    (scales,) = (array for name, array in found.items() if name.startswith("w") and name.endswith("_scale"))
    original = constants["w"] if constants else numpy_helper.to_array(nodes[0].attribute[0].t)
    np.testing.assert_array_equal(weights, quantised(original, scales.reshape(lie)))
    assert weights.min() == -127 or weights.max() == 127
    # The same network with weights and image rounded beforehand.
    of_image = found["image_scale"]
    plain = model([nodes[-1]], {"w": fake(original, scales.reshape(lie)).astype(np.float32)}, shape)
    (expected,) = run(data(plain, tmp_path), fake(calibration[0], of_image).astype(np.float32))
    np.testing.assert_allclose(run(written, calibration[0], precision.SESSION_CONFIG)[0], expected, atol=1e-4)


def fed_by_quantised(changed: ir.Model) -> set[str]:
    """The operators that take the output of a DequantizeLinear."""
    return {
        user.op_type
        for node in changed.graph
        if node.op_type == "DequantizeLinear"
        for user in node.outputs[0].consumers()
    }


def test_int8_leaves_decoding_of_boxes_in_float(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    constants = {
        "w1": rng.normal(scale=0.3, size=(8, 3, 1, 1)).astype(np.float32),
        "w2": rng.normal(scale=0.3, size=(16, 8, 1, 1)).astype(np.float32),
        "w3": rng.normal(size=(5, 8, 1, 1)).astype(np.float32),
        "bins": np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1),
        "grid": rng.uniform(0, 400, size=(1, 4, 9, 8)).astype(np.float32),
        "stride": np.array(32, np.float32),
        "folded": np.array([1, 4, 4, 72]),
        "flat": np.array([1, 4, 9, 8]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["boxes"]),
        helper.make_node("Reshape", ["boxes", "folded"], ["sides"]),
        helper.make_node("Transpose", ["sides"], ["bins first"], perm=[0, 2, 1, 3]),
        helper.make_node("Softmax", ["bins first"], ["likely"], axis=1),
        helper.make_node("Conv", ["likely", "bins"], ["distances"], name="distribution"),
        helper.make_node("Reshape", ["distances", "flat"], ["unfolded"]),
        helper.make_node("Exp", ["unfolded"], ["grown"]),
        helper.make_node("Mul", ["grown", "stride"], ["pixels"]),
        helper.make_node("Add", ["pixels", "grid"], ["corners"]),
        helper.make_node("Conv", ["r1", "w3"], ["classes"]),
        helper.make_node("Sigmoid", ["classes"], ["scores"]),
        helper.make_node("Concat", ["corners", "scores"], ["out"], axis=1),
    ]
    changed = model(nodes, constants, IMAGE)
    changes = precision.int8(changed, images(11))
    assert [change.node for change in changes] == ["c1", "boxes", "classes"]
    assert fed_by_quantised(changed) == {"Conv"}
    assert operators(changed).count("QuantizeLinear") == 2
    written = data(changed, tmp_path)
    (image,) = images(12, 1)
    (found,) = run(written, image, precision.SESSION_CONFIG)
    (expected,) = run(data(model(nodes, constants, IMAGE), tmp_path), image)
    # With coordinates up to 1,000, a common scale would leave scores no steps at all.
    assert np.abs(found[:, 4:] - expected[:, 4:]).max() < 0.1


def test_int8_does_not_follow_boxes_into_a_second_stage() -> None:
    rng = np.random.default_rng(13)
    constants = {
        "w1": rng.normal(scale=0.3, size=(4, 3, 1, 1)).astype(np.float32),
        "boxes": rng.uniform(0, 4, size=(2, 4)).astype(np.float32),
        "which": np.zeros(2, np.int64),
        "w2": rng.normal(size=(16, 5)).astype(np.float32),
        "size": np.array([2, 4]),
        "first": np.array([0]),
        "end": np.array([8]),
        "axis": np.array([1]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["features"]),
        helper.make_node("Flatten", ["features"], ["flat"]),
        helper.make_node("Slice", ["flat", "first", "end", "axis"], ["eight"]),
        helper.make_node("Reshape", ["eight", "size"], ["deltas"]),
        helper.make_node("Mul", ["deltas", "deltas"], ["squares"]),
        helper.make_node("Add", ["deltas", "squares"], ["rois"], name="decoding"),
        helper.make_node("RoiAlign", ["features", "rois", "which"], ["regions"], output_height=2, output_width=2),
        helper.make_node("Flatten", ["regions"], ["pooled"]),
        helper.make_node("Gemm", ["pooled", "w2"], ["out"]),
    ]
    assert [change.node for change in precision.quantised(model(nodes, constants, IMAGE))] == ["features", "out"]


def test_int8_quantises_a_residual_but_not_the_layer_s_output(tmp_path: Path) -> None:
    rng = np.random.default_rng(14)
    constants: dict[str, Array] = {
        f"w{i}": rng.normal(scale=0.3, size=(3, 3, 1, 1)).astype(np.float32) for i in range(3)
    }
    constants["half"] = np.array(0.5, np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["before"]),
        helper.make_node("Conv", ["before", "w1"], ["branch"]),
        helper.make_node("Add", ["branch", "before"], ["sum"]),
        helper.make_node("Add", ["sum", "half"], ["shifted"]),
        helper.make_node("GlobalAveragePool", ["shifted"], ["pooled"]),
        helper.make_node("Conv", ["pooled", "w2"], ["last"]),
        helper.make_node("Relu", ["last"], ["out"]),
    ]
    changed = model(nodes, constants, IMAGE)
    assert [change.node for change in precision.int8(changed, images(15))] == [
        *("before", "branch", "sum", "pooled", "last")
    ]
    data(changed, tmp_path)
    scales = {name.removesuffix("_scale") for name in initializers(changed) if name.endswith("_scale")}
    assert scales == {"image", "before", "shifted", "pooled", "w0", "w1", "w2"}


@pytest.mark.parametrize(("opset", "axes", "pools"), [(13, [2, 3], True), (18, [-2, -1], True), (18, [1], False)])
def test_int8_quantises_means_that_pool(opset: int, axes: list[int], pools: bool) -> None:
    constants, nodes = two_layers(24)
    mean = helper.make_node("ReduceMean", ["c1"], ["r1"], name="mean")
    if opset < 18:
        mean.attribute.append(helper.make_attribute("axes", axes))
    else:
        mean.input.append("axes")
    nodes[1:] = [mean, helper.make_node("Mul", ["r1", "w3"], ["m1"]), helper.make_node("Conv", ["m1", "w2"], ["out"])]
    constants |= {"axes": np.array(axes), "w3": np.ones((1, 6, 3, 3), np.float32)}
    found = [change.node for change in precision.quantised(model(nodes, constants, IMAGE, opset=opset))]
    assert found == (["first", "mean", "out"] if pools else ["first", "out"])


@pytest.mark.parametrize("sign", [1, -1])
def test_int8_leaves_branches_alone(tmp_path: Path, sign: int) -> None:
    weights = np.random.default_rng(25).normal(size=(5, 5)).astype(np.float32)
    built = branches({name: np.array(1, np.float32) for name in ("two", "zero", "third")})
    built.graph.node.append(helper.make_node("MatMul", ["double", "w"], ["last"]))
    built.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    built.graph.output.append(helper.make_tensor_value_info("last", TensorProto.FLOAT, [5]))
    changed = ir.from_proto(built)
    image = np.linspace(0.1, 3, 5).astype(np.float32) * np.float32(sign)
    assert [change.node for change in precision.int8(changed, [image])] == ["last"]
    found = run(data(changed, tmp_path), image, precision.SESSION_CONFIG)
    np.testing.assert_allclose(found[0], (image * image if sign > 0 else image / np.float32(0.3)) + 1, rtol=1e-6)
    np.testing.assert_allclose(found[1], image @ weights, atol=0.2)


def test_int8_refuses_layers_inside_control_flow_by_name() -> None:
    names = ("two", "zero", "third")
    built = branches({name: np.array(1, np.float32) for name in names})
    body = built.graph.node[3].attribute[0].g
    body.initializer.append(numpy_helper.from_array(np.ones((5, 5), np.float32), "w"))
    body.node[0].CopyFrom(helper.make_node("MatMul", ["double", "w"], ["squared"], name="hidden layer"))
    for noise in (precision.quantised, precision.int8_dynamic):
        with pytest.raises(ModelError, match=r"^hidden layer \(MatMul\) has weights and stands in the body"):
            noise(ir.from_proto(built))


# Models that it does not apply to
