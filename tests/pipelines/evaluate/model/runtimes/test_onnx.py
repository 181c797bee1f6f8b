"""ONNX Runtime: its GPU build, its memory, and when it is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from pipelines.errors import UsageError
from pipelines.evaluate.model.predict import predict
from pipelines.shards import Shards
from tests import ROOT
from tests.pipelines.evaluate.model.classified import (
    NAMES,
    RGB,
    WEIGHTS,
    refused,
    top_five,
)
from tests.pipelines.evaluate.model.models import (
    colour_model,
    convolved_model,
    plain_cells,
)


@pytest.fixture
def shards(sample: Shards) -> Shards:
    return sample


class Cuda:
    """ONNX Runtime's GPU build, imitated with the CPU's."""

    def __init__(self, finds_gpu: bool) -> None:
        self.given: list[Any] = []
        self.finds_gpu = finds_gpu
        self.looked = False

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        self.looked = True
        print("Failed to load libcublasLt.so.13")

    def InferenceSession(self, path: str, options: object, providers: list[Any]) -> Any:  # noqa: N802 - ONNX Runtime's name
        assert self.looked or providers == ["CPUExecutionProvider"], "CUDA in NVIDIA's packages is not found"
        self.given = providers
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        if self.finds_gpu:
            session.get_providers = self.get_available_providers
        return session


def test_a_gpu_is_used_with_the_options_of_reproducible_figures(
    shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = plain_cells(shards, colour_model(tmp_path / "m.onnx", WEIGHTS))

    def on_gpu(folder: str) -> None:
        predict(shards, cells, RGB, tmp_path / folder, device="cuda")

    with pytest.raises(
        UsageError, match=r"--device cuda needs ONNX Runtime's GPU build: .*pip install 'onnxruntime-gpu\[cuda,cudnn\]'"
    ):
        on_gpu("none")
    monkeypatch.setitem(sys.modules, "onnxruntime", Cuda(finds_gpu=False))
    with pytest.raises(UsageError, match="finds no GPU that it can use here"):
        on_gpu("driver")
    cuda = Cuda(finds_gpu=True)
    monkeypatch.setitem(sys.modules, "onnxruntime", cuda)
    on_gpu("gpu")
    (name, options), other = cuda.given
    assert (name, options["use_tf32"], other) == ("CUDAExecutionProvider", "0", "CPUExecutionProvider")
    assert "libcublasLt" not in capsys.readouterr().out
    assert json.loads((tmp_path / "gpu" / "predictions.json").read_text())["device"] == "cuda"
    with pytest.raises(UsageError, match="has predictions of another device"):
        predict(shards, cells, RGB, tmp_path / "gpu")


def test_sessions_share_the_memory_of_their_runs(tmp_path: Path) -> None:
    """Otherwise each takes 64 MiB."""
    check = """
import sys, numpy as np, resource
from pathlib import Path
from pipelines.evaluate.model.cells import as_it_is
from pipelines.evaluate.model.runtimes import open_session
sessions = [open_session(as_it_is(Path(sys.argv[1])), "nchw", "cpu") for _ in range(8)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for session in sessions:
    session.run(np.zeros((1, 3, 512, 512), np.float32))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    model = convolved_model(tmp_path / "m.onnx", 0, classes=4)
    words = [sys.executable, "-c", check, str(model)]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 300
    assert done.stderr == ""


def test_a_missing_onnx_runtime_is_named(shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = colour_model(tmp_path / "m.onnx", WEIGHTS)
    assert "pip install onnxruntime" in refused(shards, model, RGB, tmp_path / "out")


def test_onnx_runtime_is_imported_only_when_predicting() -> None:
    check = "import sys, pipelines.evaluate.model.predict; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


@pytest.mark.gpu
def test_a_gpu_gives_the_same_classes_as_the_cpu(shards: Shards, tmp_path: Path) -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("ONNX Runtime's GPU build is not installed: pip install onnxruntime-gpu")
    cells = plain_cells(shards, colour_model(tmp_path / "m.onnx", WEIGHTS))
    for device in ("cpu", "cuda"):
        assert not predict(shards, cells, RGB, tmp_path / device, device=device)
    for name in NAMES:
        assert top_five(tmp_path / "cuda", name) == top_five(tmp_path / "cpu", name)
