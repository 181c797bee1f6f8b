from __future__ import annotations

import ctypes
import importlib
from pathlib import Path
from typing import Any

import pynvml
import pytest

from manifests.provenance import ProvenanceError, code_sha256, cpu, gpu, provenance


def test_features_are_those_that_numpy_finds() -> None:
    detected = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    features = cpu()["features"]
    for ours, theirs in (("avx2", "AVX2"), ("fma", "FMA3"), ("avx512f", "AVX512F"), ("sse4_2", "SSE42")):
        assert (ours in features) == detected[theirs]


def test_the_digest_follows_names_and_contents_of_code(tmp_path: Path) -> None:
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "a.py").write_text("x = 1\n")
    (tmp_path / "other.py").write_text("y = 1\n")
    parts = ["package", "other.py"]
    before = code_sha256(tmp_path, parts)
    (tmp_path / "package" / "notes.txt").write_text("not code")
    (tmp_path / "third.py").write_text("z = 1\n")
    assert code_sha256(tmp_path, parts) == before
    (tmp_path / "package" / "a.py").write_text("x = 2\n")
    changed = code_sha256(tmp_path, parts)
    (tmp_path / "package" / "a.py").rename(tmp_path / "package" / "inner" / "a.py")
    moved = code_sha256(tmp_path, parts)
    (tmp_path / "other.py").write_text("y = 2\n")
    other = code_sha256(tmp_path, parts)
    (tmp_path / "package" / "inner" / "a.cjs").write_text("x = 2\n")
    assert len({before, changed, moved, other, code_sha256(tmp_path, parts)}) == 5


class Driver:
    """CUDA's driver with one GPU. Its functions fill in the pointers that they are given, and return a CUresult."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's own name, like those below
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        assert ordinal == 0
        device._obj.value = 7
        return self.status

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        assert (size, device.value) == (len(name), 7)
        name.value = b"NVIDIA H100 80GB HBM3"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("Init", None), ("SystemGetDriverVersion", "570.86.15"), ("Shutdown", None)):
        monkeypatch.setattr(pynvml, f"nvml{name}", lambda value=value: value)


@pytest.mark.usefixtures("nvml")
def test_a_gpu_is_described_by_what_may_change_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: {"libcuda.so.1": Driver()}[name])
    described = {"name": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0", "driver": "570.86.15"}
    assert gpu() == described
    made_by = provenance({"DALI": "2.4.0"}, "probe", on_gpu=True)
    assert made_by.pop("gpu") == described
    assert made_by == provenance({"DALI": "2.4.0"}, "probe")


@pytest.mark.usefixtures("nvml")
def test_a_gpu_that_cannot_be_described_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    def without_nvml() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(ctypes, "CDLL", none)
    with pytest.raises(ProvenanceError, match=r"libcuda.so.1: cannot open shared object file"):
        gpu()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(status=101))
    with pytest.raises(ProvenanceError, match="CUresult 101"):
        gpu()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    monkeypatch.setattr(pynvml, "nvmlInit", without_nvml)
    with pytest.raises(ProvenanceError, match=r"NVML Shared Library Not Found.*NVIDIA_DRIVER_CAPABILITIES") as caught:
        gpu()
    assert len(str(caught.value).splitlines()) == 1
