"""Half precision against NumPy's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from generators.models import precision
from generators.models.graph import ModelError
from tests.generators.models.networks import (
    IMAGE,
    Array,
    branches,
    conv,
    data,
    half,
    images,
    initializers,
    model,
    proto,
    run,
    two_layers,
)

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
@settings(max_examples=15)
def test_fp16_equals_numpy_to_one_ulp_of_half(folder: Path, seed: int) -> None:
    constants, nodes = two_layers(seed)
    changed = model(nodes, constants, IMAGE)
    assert [change.node for change in precision.fp16(changed)] == ["image", "first", "second"]
    written = data(changed, folder)
    (image,) = images(seed, 1)
    first = half(conv(half(image), half(constants["w1"])) + half(constants["b1"])[:, None, None])
    expected = half(conv(np.maximum(first, 0), half(constants["w2"])))
    # The last bit of a sum may change a value of the first layer, and so one of the last by an ulp of its tensor's
    # size.
    ulp = np.spacing(np.abs(expected).max().astype(np.float16)).astype(np.float64)
    for optimised in (True, False):
        (found,) = run(written, image, optimised=optimised)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= ulp
        assert (found == expected).mean() > 0.5
        assert (half(found) == found).all()
    assert np.abs(expected - run(data(model(nodes, constants, IMAGE), folder), image)[0]).max() > 0


@pytest.mark.parametrize("optimised", [True, False])
def test_fp16_overflows_and_underflows_as_a_device_does(tmp_path: Path, optimised: bool) -> None:
    factors = np.array([1, 1e5, 70000 / 65504, 1e-4, 6e-8, 1e-9], np.float32)
    changed = model([helper.make_node("Mul", ["image", "factors"], ["out"])], {"factors": factors}, (2, 6))
    precision.fp16(changed)
    image = np.stack([np.full(6, 65504, np.float32), np.full(6, 1e-3, np.float32)])
    (found,) = run(data(changed, tmp_path), image, optimised=optimised)
    np.testing.assert_array_equal(found, half(half(image) * half(factors.clip(max=65504))))
    assert found[0, 1] == np.inf
    assert np.isfinite(found[1, 1])  # the factor itself is the largest half
    assert found[0, 2] == np.inf
    assert 0 < found[1, 3] < 2**-14  # a subnormal half
    assert found[1, 4] == 0
    assert found[0, 5] == 0


def test_fp16_leaves_shape_computations_alone(tmp_path: Path) -> None:
    scales = np.array([1, 1, 4 / 3, 4 / 3], np.float32)
    nodes = [
        helper.make_node("Resize", ["image", "", "scales"], ["fixed"], mode="nearest"),
        helper.make_node("Shape", ["image"], ["size"]),
        helper.make_node("Cast", ["size"], ["lengths"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["lengths", "scales"], ["longer"]),
        helper.make_node("Cast", ["longer"], ["sizes"], to=TensorProto.INT64),
        helper.make_node("Resize", ["image", "", "", "sizes"], ["computed"], mode="nearest"),
        helper.make_node("Add", ["fixed", "computed"], ["sum"]),
        helper.make_node("ReduceSum", ["scales"], ["third"], keepdims=0),
        helper.make_node("Mul", ["sum", "third"], ["out"]),
    ]
    long = (1, 1, 3, 6000)  # 4 / 3 of it is 8000, and of half's 4 / 3 it is 7997
    plain, changed = (model(nodes, {"scales": scales}, long) for _ in range(2))
    precision.fp16(changed)
    (image,) = images(0, 1, long)
    (found,) = run(data(changed, tmp_path), image)
    (expected,) = run(data(plain, tmp_path), half(image).astype(np.float32))
    assert found.shape == expected.shape == (1, 1, 4, 8000)
    third = half(np.sum(half(scales)))
    total = half(expected.astype(np.float64) / np.sum(scales, dtype=np.float64))
    np.testing.assert_allclose(found, half(total * third), rtol=2**-10)
    np.testing.assert_array_equal(initializers(changed)["scales"], scales)


@pytest.mark.parametrize("sign", [1, -1])
def test_fp16_goes_into_branches(tmp_path: Path, sign: int) -> None:
    one = {"two": 2.001, "zero": 0.0, "third": 1 / 3}
    constants: dict[str, Array] = {name: np.array(value, np.float32) for name, value in one.items()}
    changed = ir.from_proto(branches(constants))
    changes = precision.fp16(changed)
    assert {"squared", "divided", "double", "out"} <= {change.node for change in changes}
    image = np.linspace(0.1, 3, 5).astype(np.float32) * np.float32(sign)
    double = half(half(image) * half(constants["two"]))
    chosen = half(double * double) if sign > 0 else half(double / half(np.array(0.3)))
    (found,) = run(data(changed, tmp_path), image)
    np.testing.assert_array_equal(found, half(chosen + half(constants["third"])))


def test_fp16_rounds_constants_inside_nodes_and_inlines_functions(tmp_path: Path) -> None:
    third = helper.make_node("Constant", [], ["third"], value_float=1 / 3)
    function = helper.make_function(
        "own",
        "Add a third",
        ["x"],
        ["y"],
        [third, helper.make_node("Add", ["x", "third"], ["y"])],
        [helper.make_opsetid("", 17)],
    )
    built = proto([helper.make_node("Add a third", ["image"], ["out"], domain="own")], {}, (3,), domains=["own"])
    built.functions.append(function)
    built.graph.output[0].CopyFrom(helper.make_tensor_value_info("out", TensorProto.FLOAT, [3]))
    changed = ir.from_proto(built)
    assert precision.fp16(changed)
    image = np.array([1 / 7, 2, 1000.1], np.float32)
    (found,) = run(data(changed, tmp_path), image)
    np.testing.assert_array_equal(found, half(half(image) + half(np.array(1 / 3))))


def test_fp16_refuses_an_operator_of_unknown_type_by_name() -> None:
    riddle = helper.make_node("Mystery", ["image"], ["out"], domain="elsewhere", name="riddle")
    built = proto([riddle], {}, (3,), domains=["elsewhere"])
    built.graph.output[0].type.Clear()
    with pytest.raises(ModelError, match=r"^riddle \(Mystery\): the type of out is not known"):
        precision.fp16(ir.from_proto(built))


def test_fp16_treats_double_precision_the_same(tmp_path: Path) -> None:
    built = proto([helper.make_node("Mul", ["image", "third"], ["out"])], {"third": np.array(1 / 3)}, (3,))
    for value in (built.graph.input[0], built.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    changed = ir.from_proto(built)
    precision.fp16(changed)
    image = np.array([1 / 7, 2, 1000.1])
    (found,) = run(data(changed, tmp_path), image)
    np.testing.assert_array_equal(found, half(half(image) * half(np.array(1 / 3))))
