"""Converted models compute the same, and functions are inlined."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from generators.models import files
from generators.models.graph import ModelError
from generators.models.opset import raise_opset
from generators.models.pool import ceil_mode
from tests.generators.models import tiny
from tests.generators.models.pooled import CONV, END, IMAGE, POOL, WEIGHTS


def subgraph() -> onnx.ModelProto:
    """A model with an Upsample inside an If."""
    then = helper.make_graph(
        [helper.make_node("Upsample", ["image", "scales"], ["large"], mode="linear")],
        "then",
        [],
        [helper.make_tensor_value_info("large", TensorProto.FLOAT, ["n", "c", "h2", "w2"])],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["same"])],
        "other",
        [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, tiny.OPEN)],
    )
    nodes = [helper.make_node("If", ["yes"], ["out"], then_branch=then, else_branch=other)]
    constants = {"scales": np.array([1, 1, 1.5, 2], np.float32), "yes": np.array(True)}
    return tiny.proto(nodes, constants, opset=9, out=("n", "c", "y", "x"))


def aged(opset: int) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Models with operators that ONNX has changed since."""
    double = {"scales": np.array([1, 1, 1.5, 2], np.float32)}
    for mode in ("nearest", "linear"):
        if opset in (7, 8):
            node = helper.make_node("Upsample", ["image"], ["out"], mode=mode, scales=[1.0, 1.0, 1.5, 2.0])
            yield f"upsample {mode}", tiny.proto([node], None, opset)
        else:
            name = "Upsample" if opset == 9 else "Resize"
            inputs = ["image", "scales"] if opset < 11 else ["image", "scales", "scales"]
            yield f"resize {mode}", tiny.proto([helper.make_node(name, inputs, ["out"], mode=mode)], double, opset)
    if opset == 10:
        halved = {"scales": np.array([1, 1, 0.5, 0.4], np.float32)}
        node = helper.make_node("Resize", ["image", "scales"], ["out"], mode="nearest")
        yield "resize nearest down", tiny.proto([node], halved, opset)
    yield "softmax", tiny.proto([helper.make_node("Softmax", ["image"], ["out"], axis=1)], None, opset)
    pads = {"pads": np.array([0, 0, 1, 2, 0, 0, 3, 4])}
    old = opset < 11
    inputs, given = (["image"], {"pads": [0, 0, 1, 2, 0, 0, 3, 4]}) if old else (["image", "pads"], {})
    pad = helper.make_node("Pad", inputs, ["out"], None, None, None, None, **given)
    yield "pad", tiny.proto([pad], {} if old else pads, opset)
    mean = helper.make_node("ReduceMean", ["image"], ["out"], axes=[2, 3])
    yield "mean", tiny.proto([mean], None, opset)
    clip = helper.make_node("Clip", ["image"], ["out"], min=-0.5, max=0.5) if old else None
    if clip is not None:
        yield "clip", tiny.proto([clip], None, opset)
    yield "pools", tiny.proto([CONV, POOL, END], WEIGHTS, opset, ir_version=4)


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12])
@pytest.mark.parametrize("newer", [13, 17, 22])
def test_a_raised_opset_changes_no_bit(opset: int, newer: int) -> None:
    cases = [*aged(opset), *([("if", subgraph())] if opset == 9 else [])]
    for name, made in cases:
        model = ir.serde.deserialize_model(made)
        raise_opset(model, newer)
        assert model.opset_imports[""] == newer
        # The optimisers know only some versions of an operator.
        found, expected = (tiny.run(either, IMAGE, optimised=False)[0] for either in (model, made))
        assert np.array_equal(found, expected), name
        before = model.graph
        raise_opset(model, newer - 1)
        assert model.graph is before


def test_weights_that_had_to_be_inputs_no_longer_are() -> None:
    """ONNX Runtime takes them for constants up to IR version 3, and for inputs since."""
    made = tiny.proto(
        [CONV, POOL, END], {"weights": tiny.pixels(32, 3, 3, 3), "bias": tiny.pixels(32)}, 8, ir_version=3
    )
    for name, shape in (("weights", [32, 3, 3, 3]), ("bias", [32])):
        made.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    model = ir.serde.deserialize_model(made)
    raise_opset(model, 13)
    assert [value.name for value in model.graph.inputs] == ["image"]
    assert np.array_equal(tiny.run(model, IMAGE)[0], tiny.run(made, IMAGE)[0])


def test_operators_of_other_domains_are_kept(tmp_path: Path) -> None:
    strange = helper.make_node("Strange", ["pool"], ["odd"], domain="some.where", name="odd", strength=2)
    end = helper.make_node("Relu", ["odd"], ["out"])
    model = ir.serde.deserialize_model(tiny.proto([CONV, POOL, strange, end], WEIGHTS, 11, domains=["some.where"]))
    assert [change.node for change in ceil_mode(model)] == ["pool"]
    raise_opset(model, 17)
    path = tiny.saved(model, tmp_path / "model.onnx")
    onnx.checker.check_model(path)
    found = onnx.load(path)
    assert {each.domain: each.version for each in found.opset_import} == {"": 17, "some.where": 1}
    (node,) = [node for node in found.graph.node if node.domain]
    assert (node.op_type, node.attribute[0].i) == ("Strange", 2)


def test_operators_that_cannot_be_converted_are_named() -> None:
    gru = helper.make_node("GRU", ["image", "weights", "weights"], ["out"])
    model = tiny.model([gru], {"weights": np.ones(3, np.float32)}, 6)
    with pytest.raises(ModelError, match=r"opset 6 to 13 \(No Adapter.* GRU\)"):
        raise_opset(model, 13)


def test_functions_are_inlined() -> None:
    made = tiny.proto([helper.make_node("Halve", ["image"], ["out"], domain="here")], None, 11, domains=["here"])
    pool = helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2], name="inner")
    made.functions.append(helper.make_function("here", "Halve", ["a"], ["b"], [pool], [helper.make_opsetid("", 11)]))
    made.ir_version = 8
    model = ir.serde.deserialize_model(made)
    (change,) = ceil_mode(model)
    assert change.operator == "MaxPool"
    assert tiny.run(model, IMAGE)[0].shape == (2, 3, 8, 9)
    assert tiny.run(made, IMAGE)[0].shape == (2, 3, 8, 8)


def test_real_models_are_the_same_after_a_conversion(data: Path, tmp_path: Path) -> None:
    for name, shape in (
        ("fastestdet", (1, 3, 352, 352)),
        ("nanodet_320", (1, 3, 320, 320)),
        ("yolox_nano", (1, 3, 160, 192)),
        ("squeezenet_v1.0", (1, 3, 227, 227)),
        ("mobilenetv2_int8", (1, 3, 224, 224)),
    ):
        if name == "mobilenetv2_int8" and sys.version_info < (3, 11):
            continue  # the last ONNX Runtime for Python 3.10 has no ConvInteger for it
        source = data / "models" / f"{name}.onnx"
        model = files.load(source)
        raise_opset(model, 17)
        found = tiny.run(tiny.saved(model, tmp_path / source.name), tiny.pixels(*shape))
        expected = tiny.run(source, tiny.pixels(*shape))
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)), name
