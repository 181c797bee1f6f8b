"""Noise in language models, compared with ONNX Runtime's own quantiser, ONNX's reference and NumPy in halves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import quantize_dynamic

from generators.models import precision
from generators.models.graph import ModelError
from tests.generators.models.languages import WIDTH, language, logits, texts
from tests.generators.models.networks import data, half, images, initializers, model, run

# With this, ONNX Runtime's kernels for int8 weights do not saturate on CPUs without VNNI.
EXACT = {"session.x64quantprecision": "1"}


def noised(built: onnx.ModelProto, folder: Path, noise: Callable[[ir.Model], Any]) -> tuple[bytes, ir.Model]:
    changed = ir.from_proto(built)
    assert noise(changed)
    return data(changed, folder), changed


def static(model: ir.Model) -> Any:
    return precision.int8(model, texts(1))


def nodes_of(changes: Iterable[Any]) -> list[str]:
    return [change.node for change in changes]


def untied(built: onnx.ModelProto) -> onnx.ModelProto:
    """The same with the table transposed beforehand, as ONNX Runtime's quantiser needs it."""
    (table,) = (numpy_helper.to_array(one) for one in built.graph.initializer if one.name == "table")
    turned = next(node for node in built.graph.node if node.output[0] == "turned")
    built.graph.node.remove(turned)
    built.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(table.T), "turned"))
    return built


def test_int8_dynamic_equals_onnx_runtime_s(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)  # it recommends preprocessing the model
    built = untied(language())
    onnx.save(built, tmp_path / "m.onnx")
    quantize_dynamic(tmp_path / "m.onnx", tmp_path / "theirs.onnx")
    theirs = (tmp_path / "theirs.onnx").read_bytes()
    ours, _ = noised(built, tmp_path, precision.int8_dynamic)
    for text in texts(2):
        found = logits(ours, text)
        np.testing.assert_array_equal(found, logits(theirs, text, EXACT))
        assert 0.01 < np.abs(found - logits(built, text)).max() < 2


@pytest.mark.parametrize("gemm", [False, True])
def test_tied_weights_are_quantised_in_both_places(tmp_path: Path, gemm: bool) -> None:
    built = language(gemm=gemm)
    apart, _ = noised(untied(language()), tmp_path, precision.int8_dynamic)
    together, changed = noised(built, tmp_path, precision.int8_dynamic)
    for text in texts(3):
        np.testing.assert_allclose(logits(together, text), logits(apart, text), rtol=1e-6, atol=1e-6)
    left = [name for name, array in initializers(changed).items() if array.ndim > 1 and array.dtype == np.float32]
    assert not left


@pytest.mark.parametrize("gemm", [False, True])
def test_int8_quantises_a_language_model_s_products_and_tables(tmp_path: Path, gemm: bool) -> None:
    built = language(gemm=gemm, masked=-np.inf)  # its mask has no range
    changes = precision.int8(ir.from_proto(built), texts(1))
    assert nodes_of(changes) == ["tokens", "places", "q", "k", "v", "scores", "mixed", "o", "head"]
    assert changes == precision.quantised(ir.from_proto(built))
    written, changed = noised(built, tmp_path, static)
    table = next(numpy_helper.to_array(one) for one in built.graph.initializer if one.name == "table")
    (steps,) = (array for name, array in initializers(changed).items() if array.shape == table.shape)
    scales = np.abs(table).max(axis=1, keepdims=True) / np.float32(127)
    np.testing.assert_array_equal(steps, np.rint(table / scales))
    differences = [np.abs(logits(written, text) - logits(built, text)).mean() for text in texts(1)]
    assert 0.001 < max(differences) < 0.2


def test_int8_calibrates_on_named_inputs(tmp_path: Path) -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["image", "w"], ["out"])]
    given, written = images(1, 3, (2, 6)), []
    for feeds in (given, [{"image": one} for one in given]):
        changed = model(nodes, weights, (2, 6))
        precision.int8(changed, feeds)
        written.append(data(changed, tmp_path))
    assert written[0] == written[1]


def test_a_cast_without_effect_hides_no_addition() -> None:
    weights = {"w": np.ones((6, 6), np.float32)}
    plain = [
        helper.make_node("Relu", ["image"], ["r"]),
        helper.make_node("Add", ["image", "r"], ["sum"], name="sum"),
        helper.make_node("MatMul", ["sum", "w"], ["out"], name="last"),
    ]
    cast = helper.make_node("Cast", ["sum"], ["same"], to=TensorProto.FLOAT)
    hidden = [*plain[:2], cast, helper.make_node("MatMul", ["same", "w"], ["out"], name="last")]
    for nodes in (plain, hidden):
        assert nodes_of(precision.int8(model(nodes, weights, (2, 6)), images(2, 2, (2, 6)))) == ["sum", "last"]


def test_int8_dynamic_of_convolutions_and_gemm_equals_onnx_s_reference(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    constants = {
        "w": rng.normal(size=(6, 1, 3, 3)).astype(np.float32),
        "b": rng.normal(size=6).astype(np.float32),
        "m": rng.normal(size=(5, 6 * 16)).astype(np.float32),
        "c": rng.normal(size=5).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["conv"], group=3, pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Flatten", ["conv"], ["flat"]),
        helper.make_node("Gemm", ["flat", "m", "c"], ["out"], transB=1, name="gemm"),
    ]
    changed = model(nodes, constants, (1, 3, 4, 4))
    assert nodes_of(precision.int8_dynamic(changed)) == ["conv", "gemm"]
    written = data(changed, tmp_path)
    reference, exact = ReferenceEvaluator(onnx.load_from_string(written)), model(nodes, constants, (1, 3, 4, 4))
    for image in images(5, 3, (1, 3, 4, 4)):
        (found,) = run(written, image)
        (third,) = reference.run(None, {"image": image})
        np.testing.assert_allclose(found, np.asarray(third), rtol=1e-5, atol=1e-5)
        assert 0 < np.abs(found - run(data(exact, tmp_path), image)[0]).max() < 1


def test_int8_dynamic_reports_where_it_does_not_apply() -> None:
    bare = model([helper.make_node("Relu", ["image"], ["out"])], {}, (2, 6))
    assert precision.reason(bare, "int8_dynamic") == "it has no layer with weights in single precision"
    assert precision.int8_dynamic(bare) == []
    turned = [helper.make_node("MatMul", ["w", "image"], ["out"])]
    left = model(turned, {"w": np.ones((4, 2), np.float32)}, (2, 6))
    assert precision.int8_dynamic(left) == []  # ONNX Runtime has no layers with weights on the left
    wrong = model(
        [helper.make_node("MatMul", ["image", "w"], ["out"])], {"w": np.full((6, 2), np.inf, np.float32)}, (2, 6)
    )
    with pytest.raises(ModelError, match=r"^w has infinite or NaN weights"):
        precision.int8_dynamic(wrong)


@pytest.mark.parametrize("gemm", [False, True])
def test_fp16_masks_like_a_half_precision_model(tmp_path: Path, gemm: bool) -> None:
    built = language(gemm=gemm)
    written, _ = noised(built, tmp_path, precision.fp16)
    for text in texts(6):
        text["attention_mask"][0, :1] = 0  # its first token attends to nothing
        found = logits(written, text)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found[:, 1:], logits(built, text)[:, 1:], atol=0.02)


def test_fp16_keeps_masks_finite_that_multiply_zero_by_a_minimum(tmp_path: Path) -> None:
    """As in GPT-2: with the product of 0 and minus infinity, everything would be NaN."""
    built = language()
    where = next(node for node in built.graph.node if node.output[0] == "mask")
    place = list(built.graph.node).index(where)
    built.graph.node.remove(where)
    built.graph.node.insert(place, helper.make_node("Cast", ["seen"], ["ones"], to=TensorProto.FLOAT))
    built.graph.node.insert(place + 1, helper.make_node("Sub", ["unit", "ones"], ["hidden"]))
    built.graph.node.insert(place + 2, helper.make_node("Mul", ["hidden", "masked"], ["mask"]))
    built.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "unit"))
    written, _ = noised(built, tmp_path, precision.fp16)
    for text in texts(7, 2):
        np.testing.assert_allclose(logits(written, text), logits(built, text), atol=0.02)


def test_fp16_computes_mean_squares_in_single_precision(tmp_path: Path) -> None:
    make = helper.make_node
    nodes = [
        make("Mul", ["image", "image"], ["squares"]),
        make("ReduceMean", ["squares"], ["mean"], axes=[-1]),
        make("Add", ["mean", "eps"], ["above"]),
        make("Sqrt", ["above"], ["root"]),
        make("Reciprocal", ["root"], ["inverse"]),
        make("Mul", ["image", "inverse"], ["even"], name="even"),
        make("Mul", ["even", "ln"], ["out"], name="scaled"),
    ]
    ln = np.random.default_rng(8).uniform(0.5, 2, WIDTH).astype(np.float32)
    changed = model(nodes, {"eps": np.array(1e-12, np.float32), "ln": ln}, (3, WIDTH))
    assert nodes_of(precision.fp16(changed)) == ["image", "even", "scaled"]
    written = data(changed, tmp_path)
    image = np.stack([np.linspace(-3000, 9000, WIDTH), np.linspace(1e-4, 2e-4, WIDTH), np.zeros(WIDTH)])
    given = half(image)
    expected = half(half(given / np.sqrt((given**2).mean(axis=1, keepdims=True) + 1e-12)) * half(ln))
    np.testing.assert_allclose(run(written, image.astype(np.float32))[0], expected, rtol=2**-9)


def test_late_positions_stay_exact(tmp_path: Path) -> None:
    make = helper.make_node
    frequencies = (10000.0 ** -np.linspace(0, 1, WIDTH)).astype(np.float32)
    nodes = [
        make("Gather", ["table", "input_ids"], ["tokens"], name="tokens"),
        make("Cast", ["position_ids"], ["float"], to=TensorProto.FLOAT),
        make("Unsqueeze", ["float", "axis"], ["column"]),
        make("MatMul", ["column", "frequencies"], ["angles"]),
        make("Cos", ["angles"], ["cosines"]),
        make("Mul", ["tokens", "cosines"], ["turned"]),
        make("MatMul", ["turned", "head"], ["logits"], name="head"),
    ]
    constants = {"table": np.ones((4, WIDTH), np.float32), "axis": np.array([2]), "frequencies": frequencies[None]}
    constants["head"] = np.eye(WIDTH, dtype=np.float32)
    made = helper.make_graph(
        nodes,
        "angles",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"]) for name in ("input_ids", "position_ids")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "t", WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    built = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    written, _ = noised(built, tmp_path, precision.fp16)
    positions = np.array([[0, 1, 1999, 30011]])
    found = logits(written, {"input_ids": np.zeros_like(positions), "position_ids": positions})
    expected = np.cos(positions[..., None] * frequencies.astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    for changes in (precision.quantised(ir.from_proto(built)), precision.int8_dynamic(ir.from_proto(built))):
        assert nodes_of(changes) == ["tokens", "head"]


def test_integer_pixels_are_not_positions() -> None:
    """A model whose pixels are integers has layers to quantise and numbers to round."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["image"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["image", "w"], ["out"], name="layer"),
    ]
    made = helper.make_graph(
        nodes,
        "pixels",
        [helper.make_tensor_value_info("pixels", TensorProto.INT32, [2, 6])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(np.ones((6, 3), np.float32), "w")],
    )
    built = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert nodes_of(precision.int8_dynamic(ir.from_proto(built))) == ["layer"]
    assert nodes_of(precision.int8(ir.from_proto(built), [np.ones((2, 6), np.int32)])) == ["layer"]
    assert "layer" in nodes_of(precision.fp16(ir.from_proto(built)))
