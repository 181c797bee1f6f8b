"""int8's arithmetic, compared with NumPy and onnx's own runtime: ranges, scales, and the model's files."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from generators.models import files, precision
from generators.models.graph import ModelError
from tests.generators.models.equations import fake, quantised
from tests.generators.models.networks import (
    IMAGE,
    Array,
    conv,
    data,
    images,
    initializers,
    model,
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
