"""A model's tensors, where they are in a noised model, and models that output them or take them as inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from generators.models import files, precision
from generators.models.graph import ModelError
from generators.models.taps import INPUT, Tap, Tapped, Tensor
from tests.generators.models.networks import IMAGE, Array, branches, half, images, model, proto, run, two_layers


def saved(made: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def tapped(made: onnx.ModelProto, folder: Path) -> Tapped:
    return Tapped(saved(made, folder / "model.onnx"))


def test_sizes_and_constants_do_not_count_as_tensors(tmp_path: Path) -> None:
    """A Reshape to a size computed in floats, and weights that are concatenated."""
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["float_shape"], to=TensorProto.FLOAT),
        helper.make_node("Floor", ["float_shape"], ["floored"]),
        helper.make_node("Cast", ["floored"], ["size"], to=TensorProto.INT64),
        helper.make_node("Neg", ["w"], ["other_w"]),
        helper.make_node("Mul", ["image", "other_w"], ["scaled"], name="scale"),
        helper.make_node("Reshape", ["scaled", "size"], ["out"]),
        helper.make_node("ArgMax", ["out"], ["index"]),
    ]
    found = tapped(proto(nodes, {"w": np.ones((1, 3, 1, 1), np.float32)}, IMAGE), tmp_path)
    assert found.tensors == [
        Tensor("image", "image", INPUT),
        Tensor("scaled", "scale", "Mul", ("image",)),
        Tensor("out", "out", "Reshape", ("scaled",)),
    ]
    assert found.outputs == ["out"]


def test_a_body_s_inputs_count_as_its_node_s(tmp_path: Path) -> None:
    weights = {"two": np.array(2, np.float32), "zero": np.array(0, np.float32), "third": np.array(1 / 3, np.float32)}
    found = {tensor.name: tensor for tensor in tapped(branches(weights), tmp_path).tensors}
    assert found["chosen"].inputs == ("double",)


def test_tensors_are_found_after_their_rounding(tmp_path: Path) -> None:
    weights, nodes = two_layers(4)
    own = tapped(proto(nodes, weights, IMAGE), tmp_path)
    assert [tensor.weights for tensor in own.tensors] == [(), (1,), (), (1,)]
    assert own.taps == {name: Tap(name, name) for name in ("image", "c1", "r1", "out")}
    for token, noise in (("fp16", precision.fp16), ("int8", lambda made: precision.int8(made, images(4)))):
        changed = model(nodes, weights, IMAGE)
        assert noise(changed)
        files.save(changed, tmp_path / f"{token}.onnx")
        noised = Tapped(tmp_path / f"{token}.onnx", own.tensors)
        assert list(noised.taps) == list(own.taps)
        if token == "fp16":  # outputs keep their names, and are rounded last
            assert noised.taps["out"] == Tap("out_exact", "out")
            assert noised.taps["c1"] == Tap("c1", "c1_rounded")
            assert noised.taps["r1"] == Tap("r1", "r1")
        else:
            assert noised.taps["image"] == Tap("image", "image_DequantizeLinear_Output")
            assert noised.taps["c1"] == Tap("c1", "c1")
        (pair,) = own.weights(own.tensors[1], noised)
        assert pair == ("w1", "w1_DequantizeLinear_Output" if token == "int8" else "w1")
        # A model with its own roundings: they are among its tensors, since no noise inserted them.
        itself = Tapped(tmp_path / f"{token}.onnx")
        assert all(tap.made == tap.taken for tap in itself.taps.values())


def outputs(path: Path, given: dict[str, Array]) -> list[Array]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert {one.name for one in session.get_inputs()} == given.keys()
    found: list[Array] = session.run(None, given)
    return found


def test_models_of_any_inputs_and_outputs_are_written(tmp_path: Path) -> None:
    weights, nodes = two_layers(9)
    plain = proto(nodes, weights, IMAGE)
    own = tapped(plain, tmp_path)
    (image,) = images(9, 1)
    path = tmp_path / "written.onnx"
    own.write_values(["image", "w2", "r1"], path)
    first, second, third = outputs(path, {"image": image})
    assert np.array_equal(first, image)
    assert np.array_equal(second, weights["w2"])
    own.write_shapes(["out", "c1"], path)
    assert [shape.tolist() for shape in outputs(path, {"image": image})] == [[1, 4, 5, 4], [1, 6, 7, 6]]
    name = own.write_behind("r1", ["out"], path)
    (out,) = outputs(path, {name: third})
    assert np.allclose(out, run(plain.SerializeToString(), image)[0], atol=1e-5)
    # If the output itself is given, nothing is left of the model.
    name = own.write_behind("out", ["out"], path)
    assert np.array_equal(outputs(path, {name: third})[0], third)
    assert plain == onnx.load(tmp_path / "model.onnx")


def test_separated_nodes_take_given_tensors(tmp_path: Path) -> None:
    weights, nodes = two_layers(2)
    own = tapped(proto(nodes, weights, IMAGE), tmp_path)
    changed = model(nodes, weights, IMAGE)
    precision.fp16(changed)
    files.save(changed, tmp_path / "fp16.onnx")
    path = tmp_path / "apart.onnx"
    taken = Tapped(tmp_path / "fp16.onnx", own.tensors).write_apart(["r1", "c1"], path)
    assert taken.keys() == {"image", "c1"}
    (image,) = images(2, 1)
    other = np.random.default_rng(0).normal(size=(1, 6, 7, 6)).astype(np.float32)
    relu, conv = outputs(path, {taken["image"]: image, taken["c1"]: other})
    # Each is rounded before its node, not after it.
    assert np.array_equal(relu, np.maximum(half(other), 0))
    rounded = {name: half(array).astype(np.float32) for name, array in weights.items()}
    direct = run(proto(nodes[:1], rounded, IMAGE, ["c1"]).SerializeToString(), half(image).astype(np.float32))[0]
    assert np.allclose(conv, direct, atol=1e-5)
    assert not np.array_equal(conv, half(conv))


def test_files_other_than_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="is not a readable ONNX model"):
        Tapped(tmp_path / "model.onnx")
