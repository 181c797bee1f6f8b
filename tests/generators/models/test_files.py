"""Models survive being read and written, and damaged files are refused."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from generators.models import files
from generators.models.graph import Change, ModelError
from generators.models.opset import raise_opset
from generators.models.pool import ceil_mode, ceil_mode_average, floor_mode
from generators.models.upsample import upsample_bilinear
from tests.generators.models import tiny
from tests.generators.models.pooled import CONV, END, IMAGE, POOL, WEIGHTS


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


def test_external_weights_stay_on_disk_while_operators_are_converted(external: Path, tmp_path: Path) -> None:
    model = files.load(external)
    raise_opset(model, 17)
    assert isinstance(model.graph.initializers["weights"].const_value, ir.ExternalTensor)
    path = tiny.saved(model, tmp_path / "out.onnx")
    assert np.array_equal(tiny.run(path, IMAGE)[0], tiny.run(external, IMAGE)[0])
