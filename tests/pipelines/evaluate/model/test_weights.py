"""A model's external files are those that onnx finds in it; its digest covers all their bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data
from packaging.version import Version

from pipelines.errors import UsageError
from pipelines.evaluate.model.weights import model_files, model_sha256

NAMES = ["beside.bin", "deep/er/weights.bin", "attribute.bin", "branch.bin", "sub/list.bin"]


def external(name: str, location: str) -> TensorProto:
    """A tensor stored in another file."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def everywhere(path: Path, names: list[str]) -> Path:
    """A model with tensors among its initializers, in attributes, and in graphs in attributes."""
    for name in names:
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / name).write_bytes(name.encode() * 9)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    branch = helper.make_graph([], "branch", [], [out], [external("y", names[3])])
    own = numpy_helper.from_array(np.arange(5000, dtype=np.float32), "own")  # raw bytes, to be skipped
    other = helper.make_node("Odd", [], ["w"], domain="mine")
    other.attribute.append(helper.make_attribute("many", [external("one", names[4]), external("two", names[0])]))
    nodes = [
        helper.make_node("Constant", [], ["c"], value=external("c", names[2])),
        helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch),
        other,
    ]
    graph = helper.make_graph(nodes, "g", [], [out], [own, external("a", names[0]), external("b", names[1])])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_files_are_found_wherever_a_tensor_is(tmp_path: Path) -> None:
    model = everywhere(tmp_path / "m.onnx", NAMES)
    loaded = onnx.load(model, load_external_data=False)
    theirs = {ExternalDataInfo(one).location for one in _get_all_tensors(loaded) if uses_external_data(one)}
    assert theirs == set(NAMES)
    assert model_files(model) == [model, *sorted(tmp_path / name for name in NAMES)]
    content = model.read_bytes() + b"".join(path.read_bytes() for path in sorted(tmp_path / name for name in NAMES))
    assert model_sha256(model) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_every_file_changes_the_digest(tmp_path: Path, name: str) -> None:
    model = everywhere(tmp_path / "m.onnx", NAMES)
    before = model_sha256(model)
    (tmp_path / "strange.bin").write_bytes(b"not the model's")
    assert model_sha256(model) == before
    (tmp_path / name).write_bytes(b"another")
    assert model_sha256(model) != before


def test_a_missing_file_and_one_outside_the_folder_are_refused(tmp_path: Path) -> None:
    model = everywhere(tmp_path / "m.onnx", NAMES)
    (tmp_path / NAMES[1]).unlink()
    with pytest.raises(UsageError, match=r"keeps weights in deep/er/weights.bin, which is missing: put that file"):
        model_sha256(model)
    (tmp_path / "in").mkdir()
    for name in ("../beside.bin", str(tmp_path / "beside.bin")):
        other = everywhere(tmp_path / "in" / "m.onnx", [name, *NAMES[1:]])
        with pytest.raises(UsageError, match="outside its own folder"):
            model_sha256(other)


def test_links_are_followed_as_by_onnx_runtime(tmp_path: Path) -> None:
    """Each answer is compared with ONNX Runtime's, which before 1.24 followed every link."""
    weights = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w")
    image, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("image", "out"))
    graph = helper.make_graph([helper.make_node("Conv", ["image", "w"], ["out"])], "g", [image], [out], [weights])
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for name in ("blobs", "elsewhere"):
        (tmp_path / name).mkdir()
    onnx.save_model(
        whole, tmp_path / "blobs" / "m", save_as_external_data=True, location="m.onnx_data", size_threshold=0
    )
    data = (tmp_path / "blobs" / "m.onnx_data").rename(tmp_path / "blobs" / "d")
    (tmp_path / "elsewhere" / "d").write_bytes(data.read_bytes())
    found, of_runtime, errors = {}, {}, []
    for name, own, theirs in (
        ("cache", "../blobs/m", "../blobs/d"),  # like the Hugging Face Hub's
        ("model", "../blobs/m", None),
        ("weights", None, "../blobs/d"),
        ("both", "../blobs/m", "../elsewhere/d"),
        ("inside", None, "d"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "d").write_bytes(data.read_bytes())
        for file, link in (("m.onnx", own), ("m.onnx_data", theirs)):
            if link:
                (folder / file).symlink_to(link)
            else:
                (folder / file).write_bytes((tmp_path / "blobs" / ("m" if file == "m.onnx" else "d")).read_bytes())
        try:
            onnxruntime.InferenceSession(str(folder / "m.onnx"), providers=["CPUExecutionProvider"])
            of_runtime[name] = True
        except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
            of_runtime[name] = False
        try:
            assert model_files(folder / "m.onnx") == [folder / "m.onnx", folder / "m.onnx_data"]
            found[name] = True
        except UsageError as error:
            errors.append(str(error))
            found[name] = False
    assert found == {"cache": True, "model": True, "weights": False, "both": False, "inside": True}
    assert all("a link that leads out of its folder, which ONNX Runtime refuses" in error for error in errors)
    assert of_runtime == (found if Version(onnxruntime.__version__) >= Version("1.24") else dict.fromkeys(found, True))
    (tmp_path / "link.onnx").symlink_to("inside/m.onnx")
    with pytest.raises(UsageError, match=r"which is missing: give --model .*/inside/m\.onnx, which it links to"):
        model_files(tmp_path / "link.onnx")


@given(st.data())
def test_damaged_models_have_no_other_files(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "damage"
    folder.mkdir(exist_ok=True)
    whole = everywhere(folder / "m.onnx", NAMES).read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    damaged = whole[:start] + data.draw(st.binary(max_size=5)) + whole[start + data.draw(st.integers(0, 9)) :]
    (folder / "d.onnx").write_bytes(damaged)
    try:
        files = model_files(folder / "d.onnx")
    except UsageError:
        return
    assert set(files) <= {folder / "d.onnx", *(folder / name for name in NAMES)}
