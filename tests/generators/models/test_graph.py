from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from generators.models import files
from generators.models.graph import Change, ModelError
from generators.models.opset import raise_opset
from generators.models.pool import ceil_mode, ceil_mode_average, floor_mode
from generators.models.upsample import upsample_bilinear
from tests.generators.models import tiny

WEIGHTS = {"weights": tiny.pixels(16, 3, 3, 3), "bias": tiny.pixels(16)}
CONV = helper.make_node("Conv", ["image", "weights", "bias"], ["conv"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
POOL = helper.make_node("MaxPool", ["conv"], ["pool"], kernel_shape=[3, 3], strides=[2, 2], name="pool")
END = helper.make_node("Relu", ["pool"], ["out"])
IMAGE = tiny.pixels(2, 3, 16, 17)


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(tiny.proto([CONV, POOL, END], WEIGHTS).SerializeToString())
    return path


@pytest.fixture
def external(embedded: Path) -> Path:
    """A model whose weights are in a separate folder."""
    path = embedded.with_name("external.onnx")
    (path.parent / "weights").mkdir()
    onnx.save_model(onnx.load(embedded), path, save_as_external_data=True, location="weights/a.bin", size_threshold=64)
    return path


@pytest.mark.parametrize("name", ["embedded", "external"])
def test_a_model_survives_a_round_trip(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source: Path = request.getfixturevalue(name)
    path = tiny.saved(files.load(source), tmp_path / "out" / "model.onnx")
    assert np.array_equal(tiny.run(path, IMAGE)[0], tiny.run(source, IMAGE)[0])
    assert {node.name for node in onnx.load(path).graph.node} == {node.name for node in onnx.load(source).graph.node}
    once = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    assert set(once) == ({"model.onnx"} if name == "embedded" else {"model.onnx", "model.onnx.data"})
    tiny.saved(files.load(path), path)
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == once


def test_weights_beyond_protobuf_s_limit_become_external(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.onnx"
    tiny.saved(files.load(embedded), path)
    assert not path.with_name("large.onnx.data").exists()
    monkeypatch.setattr(files, "_MOST_EMBEDDED", 1000)
    monkeypatch.setattr(files, "_LEAST_EXTERNAL", 64)
    tiny.saved(files.load(embedded), path)
    assert path.with_name("large.onnx.data").stat().st_size == sum(each.nbytes for each in WEIGHTS.values())
    assert np.array_equal(tiny.run(path, IMAGE)[0], tiny.run(embedded, IMAGE)[0])


@pytest.mark.parametrize("name", ["embedded", "external"])
def test_a_full_disk_leaves_the_old_file(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    model = files.load(request.getfixturevalue(name))
    path = tiny.saved(model, tmp_path / "out" / "model.onnx")
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
        with pytest.raises(OSError, match="too large"):
            files.save(model, path)
        with pytest.raises(OSError, match="too large"):
            files.save(model, tmp_path / "new" / "model.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before
    assert not list((tmp_path / "new").iterdir())


def outside(path: Path) -> None:
    moved = path.parent.parent / "a.bin"
    (path.parent / "weights" / "a.bin").rename(moved)
    (path.parent / "weights" / "a.bin").symlink_to(moved)


def short(path: Path) -> None:
    os.truncate(path.parent / "weights" / "a.bin", 100)


def missing(path: Path) -> None:
    (path.parent / "weights" / "a.bin").unlink()


def upwards(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"weights/a.bin", b"../../a/b.bin"))


def linked(path: Path) -> None:
    os.link(path.parent / "weights" / "a.bin", path.parent / "again.bin")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (outside, "outside its folder"),
        (upwards, "outside its folder"),
        (missing, "a.bin cannot be read"),
        (short, "shorter than tensor 'weights'"),
        (linked, "copy them"),
    ],
)
def test_missing_weights_are_reported(damage: Callable[[Path], None], words: str, external: Path) -> None:
    damage(external)
    with pytest.raises(ModelError, match=words) as raised:
        files.load(external)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" * 9, b"TFL3" * 99, os.urandom(999), b"\x08\x08"])
def test_files_other_than_models_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="is not a readable ONNX model"):
        files.load(path)
    with pytest.raises(ModelError, match="cannot be read"):
        files.load(tmp_path)


def test_sparse_weights_are_refused(tmp_path: Path) -> None:
    made = tiny.proto([END])
    values = numpy_helper.from_array(np.ones(1, np.float32), "pool")
    indices = numpy_helper.from_array(np.zeros((1, 1), np.int64), "indices")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(ModelError, match="dense"):
        files.load(tmp_path / "model.onnx")


DAMAGED = tiny.proto(
    [
        CONV,
        POOL,
        helper.make_node("AveragePool", ["pool"], ["mean"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["mean", "shape"], ["flat"]),
        helper.make_node("Reshape", ["flat", "back"], ["again"]),
        helper.make_node("Resize", ["again", "", "scales"], ["out"]),
    ],
    {
        **WEIGHTS,
        "shape": np.array([1, 8, 2, 7 * 9]),
        "back": np.array([1, 16, 7, 9]),
        "scales": np.array([1, 1, 2, 2], np.float32),
    },
    image=(1, 3, 32, 40),
).SerializeToString()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(DAMAGED) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_is_an_error_of_one_line(tmp_path: Path, damages: list[tuple[int, int]]) -> None:
    data = bytearray(DAMAGED)
    for place, byte in damages:
        data[place] = byte
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    for noise in (ceil_mode, floor_mode, ceil_mode_average, upsample_bilinear):
        assert "\n" not in problem(path, noise)


def problem(path: Path, noise: Callable[[ir.Model], list[Change]]) -> str:
    """The message for a model that cannot be read or changed."""
    try:
        model = files.load(path)
        noise(model)
    except ModelError as error:
        return str(error)
    files.save(model, path.with_name("out.onnx"))
    return ""


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


def test_external_weights_stay_on_disk_while_operators_are_converted(external: Path, tmp_path: Path) -> None:
    model = files.load(external)
    raise_opset(model, 17)
    assert isinstance(model.graph.initializers["weights"].const_value, ir.ExternalTensor)
    path = tiny.saved(model, tmp_path / "out.onnx")
    assert np.array_equal(tiny.run(path, IMAGE)[0], tiny.run(external, IMAGE)[0])


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
        source = data / "models" / f"{name}.onnx"
        model = files.load(source)
        raise_opset(model, 17)
        found = tiny.run(tiny.saved(model, tmp_path / source.name), tiny.pixels(*shape))
        expected = tiny.run(source, tiny.pixels(*shape))
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)), name
