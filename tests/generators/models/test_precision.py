"""8-bit noise compared with NumPy and onnx's own runtime, models that it does not apply to, and real models."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

from generators.models import files, precision
from generators.models.graph import ModelError
from tests.generators.models.networks import (
    IMAGE,
    Array,
    branches,
    conv,
    data,
    images,
    initializers,
    model,
    operators,
    proto,
    run,
    two_layers,
)

SEEDS = st.integers(0, 2**32 - 1)


def scale(values: Array, bits: int | None = 8) -> Array:
    """max|x| / 127, with the range rounded up to this many significant bits; in single precision."""
    largest = np.abs(values).max()
    if bits is not None:
        step = 2.0 ** (np.floor(np.log2(largest)) + 1 - bits)
        largest = np.ceil(largest / step) * step
    return np.asarray(largest / 127, np.float32)


def quantised(values: Array, by: Array) -> Array:
    """The paper's equation 9, with z = 0."""
    found: Array = np.clip(np.rint(values.astype(np.float32) / by), -128, 127)
    return found


def fake(values: Array, by: Array) -> Array:
    """Equations 9 and 10."""
    found: Array = quantised(values, by).astype(np.float64) * by
    return found


@pytest.mark.parametrize("per_channel", [True, False])
@given(SEEDS)
@settings(max_examples=10)
def test_int8_equals_equations_9_and_10(folder: Path, per_channel: bool, seed: int) -> None:
    constants, nodes = two_layers(seed)
    calibration = images(seed)
    changed = model(nodes, constants, IMAGE)
    changes = precision.int8(changed, iter(calibration), per_channel=per_channel)
    assert changes == precision.quantised(model(nodes, constants, IMAGE), per_channel=per_channel)
    assert [change.node for change in changes] == ["first", "second"]
    written = data(changed, folder)

    weights = {}
    for name in ("w1", "w2"):
        parts = constants[name] if per_channel else [constants[name]]
        scales = np.array([scale(part, None) for part in parts], np.float32)
        by = scales.reshape(-1, 1, 1, 1) if per_channel else scales[0]
        found = initializers(changed)
        np.testing.assert_array_equal(found[f"{name}_scale"], scales if per_channel else scales[0])
        np.testing.assert_array_equal(found[f"{name}_quantized"], quantised(constants[name], by).astype(np.int8))
        weights[name] = fake(constants[name], by)
    bias = constants["b1"][:, None, None]
    hidden = [np.maximum(conv(one, constants["w1"]) + bias, 0) for one in calibration]
    of_image, of_hidden = scale(np.stack(calibration)), scale(np.stack(hidden))
    (image,) = images(seed + 1, 1)
    inner = fake(np.maximum(conv(fake(image, of_image), weights["w1"]) + bias, 0), of_hidden)
    expected = conv(inner, weights["w2"])
    step = of_hidden * np.abs(weights["w2"]).max()  # the effect of one step of one hidden value on the output
    for config, optimised in ((precision.SESSION_CONFIG, True), (None, False)):
        (found_output,) = run(written, image, config, optimised)
        assert np.abs(found_output - expected).max() <= 1.01 * step
        # Only a few hidden values are so close to a half that they tip, and each affects at most nine outputs.
        assert np.isclose(found_output, expected, atol=1e-4).mean() > 0.4


def test_int8_ranges_are_rounded_up_by_less_than_a_step(tmp_path: Path) -> None:
    constants, nodes = two_layers(0)
    calibration = images(0)
    changed = model(nodes, constants, IMAGE)
    precision.int8(changed, calibration)
    found = initializers(changed)["image_scale"]
    exact = scale(np.stack(calibration), None)
    assert exact <= found <= exact * (1 + 1 / 128)
    everything = np.stack(calibration)
    assert np.abs(fake(everything, found) - fake(everything, exact)).max() <= found


def test_int8_gives_the_same_with_and_without_optimisations_and_in_onnx_s_reference(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    constants, nodes = two_layers(3)
    constants["w3"] = rng.normal(size=(4 * 5 * 4, 10)).astype(np.float32)
    nodes[-1].output[0] = "c2"
    nodes += [helper.make_node("Flatten", ["c2"], ["flat"]), helper.make_node("Gemm", ["flat", "w3"], ["out"])]
    changed = model(nodes, constants, IMAGE, opset=21)  # ONNX's reference supports scales per channel from it on
    precision.int8(changed, images(3))
    written = data(changed, tmp_path)
    reference = ReferenceEvaluator(onnx.load_from_string(written))
    for image in images(4, 8):
        (exact,) = run(written, image, optimised=False)
        (found,) = run(written, image, precision.SESSION_CONFIG)
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-4)
        (third,) = reference.run(None, {"image": image})
        step = initializers(changed)["flat_scale"] * np.abs(constants["w3"]).max()
        assert np.abs(found - third).max() <= 2 * step


def test_int8_is_repeatable_in_any_order(tmp_path: Path) -> None:
    constants, nodes = two_layers(1)
    calibration = images(1, 9)

    def written(order: list[Array]) -> bytes:
        changed = model(nodes, constants, IMAGE)
        precision.int8(changed, order)
        return data(changed, tmp_path)

    first = written(calibration)
    assert written(calibration) == first
    assert written(random.Random(0).sample(calibration, len(calibration))) == first
    assert written(images(2, 9)) != first


@pytest.mark.parametrize("per_channel", [True, False])
def test_int8_raises_the_opset_if_needed(tmp_path: Path, per_channel: bool) -> None:
    constants, nodes = two_layers(2)
    nodes[1:2] = [
        helper.make_node("Relu", ["c1"], ["relu"]),
        helper.make_node("MaxPool", ["relu"], ["r1"], kernel_shape=[2, 2], name="pool"),
    ]
    (image,) = images(5, 1)
    outputs = []
    for opset in (11, 12, 13, 17):
        changed = model(nodes, constants, IMAGE, opset=opset)
        changes = precision.int8(changed, images(2), per_channel=per_channel)
        assert [change.node for change in changes] == ["first", "pool", "second"]
        assert changed.opset_imports[""] >= 13
        outputs.append(run(data(changed, tmp_path), image, precision.SESSION_CONFIG)[0])
    for output in outputs[1:]:
        np.testing.assert_array_equal(output, outputs[0])


@pytest.mark.parametrize("token", ["fp16", "int8", "int8_dynamic"])
def test_weights_may_be_external_or_among_the_inputs(tmp_path: Path, token: str) -> None:
    constants, nodes = two_layers(6)
    built = proto(nodes, constants, IMAGE)
    (image,) = images(7, 1)
    outside = tmp_path / "outside"
    outside.mkdir()
    onnx.save_model(
        onnx.ModelProto.FromString(built.SerializeToString()),
        outside / "m.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    old = proto(nodes, constants, IMAGE)
    old.ir_version = 3
    for name, array in constants.items():
        old.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    found = []
    for changed in (ir.from_proto(built), files.load(outside / "m.onnx"), ir.from_proto(old)):
        assert precision.int8(changed, images(6)) if token == "int8" else getattr(precision, token)(changed)
        assert [value.name for value in changed.graph.inputs] == ["image"]
        if token == "fp16":  # no weights are read before they are written
            weights = changed.graph.initializers.values()
            assert all(isinstance(value.const_value, ir.LazyTensor) for value in weights)
        files.save(changed, tmp_path / "new" / "m.onnx")
        found.append(run(tmp_path / "new" / "m.onnx", image, precision.SESSION_CONFIG)[0])
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


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


def test_int8_shares_weights_between_layers_of_different_axes(tmp_path: Path) -> None:
    weights = np.random.default_rng(16).normal(size=(6, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["image", "w"], ["between"]),
        helper.make_node("Gemm", ["between", "w"], ["out"], transB=1),
    ]
    changed = model(nodes, {"w": weights}, (3, 6))
    (image,) = images(18, 1, (3, 6))
    assert len(precision.int8(changed, [image])) == 2
    (found,) = run(data(changed, tmp_path), image, precision.SESSION_CONFIG)
    assert np.abs(found - image @ weights @ weights.T).max() < 0.6


def test_int8_of_a_tensor_that_is_always_zero(tmp_path: Path) -> None:
    constants, nodes = two_layers(19)
    constants["w1"][2] = 0
    constants["b1"][:] = -1e6
    changed = model(nodes, constants, IMAGE)
    precision.int8(changed, images(19))
    (found,) = run(data(changed, tmp_path), images(20, 1)[0], precision.SESSION_CONFIG)
    assert (found == 0).all()


@pytest.mark.parametrize(("operator", "factor"), [("Sqrt", 1), ("Exp", 1e4)])
def test_int8_refuses_a_tensor_that_is_not_finite(operator: str, factor: float) -> None:
    constants, nodes = two_layers(21)
    constants["factor"] = np.array(factor, np.float32)
    nodes[1:2] = [helper.make_node("Mul", ["c1", "factor"], ["m1"]), helper.make_node(operator, ["m1"], ["r1"])]
    with pytest.raises(ModelError, match=r"^r1 is infinite or NaN on a calibration input"):
        precision.int8(model(nodes, constants, IMAGE), images(21))


def test_int8_leaves_no_files_and_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    constants, nodes = two_layers(26)
    precision.int8(model(nodes, constants, IMAGE), images(26))
    with pytest.raises(ModelError):
        precision.int8(model(nodes, constants, IMAGE), [np.zeros((1, 3, 4, 4), np.float32)])
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_int8_refuses_unusable_calibration_inputs() -> None:
    constants, nodes = two_layers(22)
    with pytest.raises(ModelError, match="there are none: give --calibration N"):
        precision.int8(model(nodes, constants, IMAGE), [])
    with pytest.raises(ModelError, match="failed on calibration input 2"):
        precision.int8(model(nodes, constants, IMAGE), [*images(0, 1), np.zeros((1, 3, 4, 4), np.float32)])
    nodes.append(helper.make_node("Add", ["out", "more"], ["sum"]))
    built = proto(nodes, constants, IMAGE, ["sum"])
    built.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    with pytest.raises(ModelError, match=r"one input, and the model has 2 \(image, more\)"):
        precision.int8(ir.from_proto(built), images(0))


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


def test_reasons(tmp_path: Path) -> None:
    constants, nodes = two_layers(23)
    done = model(nodes, constants, IMAGE)
    precision.int8(done, images(23))
    halves = model(nodes, {name: array.astype(np.float16) for name, array in constants.items()}, IMAGE)
    bare = model([helper.make_node("Relu", ["image"], ["out"])], {}, IMAGE)
    cases = [
        (done, "it is quantised already", "it is quantised already"),
        (halves, "it is half precision already", "it is half precision already"),
        (bare, None, "it has no layer with weights in single precision"),
        (model(nodes, constants, IMAGE), None, None),
    ]
    for one, of_fp16, of_int8 in cases:
        before = data(one, tmp_path) if one is not halves else b""
        assert precision.reason(one, "fp16") == of_fp16
        assert precision.reason(one, "int8") == precision.reason(one, "int8_tensor") == of_int8
        if of_int8:
            assert precision.int8(one, images(23)) == precision.quantised(one) == []
        if of_fp16:
            assert precision.fp16(one) == []
        assert one is halves or data(one, tmp_path) == before


# Real models


def real(kind: str, path: Path) -> Array:
    """A photograph as a model's input, in any geometry."""
    size = {"squeezenet_v1.0": 227, "efficientnet_lite0": 224, "yolox_nano": 416, "nanodet_320": 320}[kind]
    pixels = np.asarray(Image.open(path).convert("RGB").resize((size, size)), np.float32)
    prepare: dict[str, Callable[[Array], Array]] = {
        "squeezenet_v1.0": lambda rgb: rgb[..., ::-1] - np.array([104, 117, 123]),
        "efficientnet_lite0": lambda rgb: (rgb - 127) / 128,
        "yolox_nano": lambda rgb: (rgb / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
        "nanodet_320": lambda rgb: (
            (rgb[..., ::-1] - np.array([103.53, 116.28, 123.675])) / np.array([57.375, 57.12, 58.395])
        ),
    }
    return np.ascontiguousarray(prepare[kind](pixels).transpose(2, 0, 1)[None], np.float32)


# The lowest correlation of any output. YOLOX-nano is known to tolerate this scheme badly; ONNX Runtime's does no
# better.
REAL = [("squeezenet_v1.0", 0.95), ("efficientnet_lite0", 0.98), ("yolox_nano", 0.6), ("nanodet_320", 0.9)]


@pytest.mark.parametrize(("kind", "least"), REAL)
def test_real_models(data: Path, tmp_path: Path, kind: str, least: float) -> None:
    source = data / "models" / f"{kind}.onnx"
    folder = "imagenet/tree/*/*.JPEG" if "net_" in kind and kind != "nanodet_320" else "coco/val2017/*.jpg"
    image, *pictures = [real(kind, path) for path in sorted(data.glob(folder))[:7]]
    floats = run(source, image)
    for token in ("fp16", "int8"):
        changed = files.load(source)
        assert precision.fp16(changed) if token == "fp16" else precision.int8(changed, pictures)
        written = tmp_path / f"{token}.onnx"
        files.save(changed, written)
        onnx.checker.check_model(written, full_check=True)
        outputs = run(written, image, precision.SESSION_CONFIG)
        for expected, found in zip(floats, outputs, strict=True):
            assert np.isfinite(found).all()
            together = np.corrcoef(expected.ravel(), found.ravel())[0, 1]
            assert together > (0.999 if token == "fp16" else least)
    for found, unoptimised in zip(outputs, run(written, image, optimised=False), strict=True):
        np.testing.assert_allclose(found, unoptimised, rtol=0, atol=1e-5)
