"""TFLite models, inputs and noise that are refused, and damaged files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generate
from generators.registry import METHODS
from pipelines.command import options_of
from pipelines.errors import UsageError
from pipelines.evaluate.model.noised import DoesNotApplyError, Images, NoisedModels, nodes_changed
from pipelines.evaluate.model.runtimes import runtime_of
from pipelines.evaluate.model.write import generate_models, list_for
from pipelines.generate.options import Options
from tests import ROOT
from tests.pipelines.evaluate.model.runtimes.dense import (
    SIDE,
    floating,
    quantised,
    refused,
    tflite,
)
from tests.pipelines.evaluate.model.runtimes.flat import Flat


def test_unsuitable_inputs_are_refused_in_one_line(tmp_path: Path) -> None:
    path = floating(tmp_path / "m.tflite").path
    assert 'm.tflite takes [1, 4, 4, 3], which is not nchw with three channels: give layout = "nhwc"' in refused(
        path, layout="nchw"
    )
    assert refused(path, "cuda") == "--device cuda: a TFLite model runs on the CPU here; leave it out"
    with pytest.raises(UsageError, match="on the CPU here"):
        runtime_of(path).versions("cuda")
    shapeless = floating(tmp_path / "open.tflite", (1, -1, -1, 3)).path
    assert "takes [1, -1, -1, 3], where -1 is an open length: convert it again" in refused(shapeless)
    with pytest.raises(UsageError, match="failed on an input of 1x5x4x3"):
        tflite(path).run(np.zeros((1, 5, 4, 3), np.float32))


def small(path: Path, operator: str = "CAST", custom: str | None = None, out: str = "float32", **tensor: Any) -> Path:
    """One operator on an image."""
    flat = Flat()
    tensor = {"dtype": "uint8", "shape": (1, SIDE, SIDE, 3), **tensor}
    image = flat.tensor("image", **tensor)
    result = flat.tensor("result", out, tensor["shape"])
    flat.add(operator, [image], result, custom)
    return flat.save(path, [image], [result])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            {"scales": (0.1, 0.2, 0.3), "operator": "DEQUANTIZE", "dtype": "int8"},
            "has the scales 0.1, 0.2, 0.3, not one",
        ),
        ({"shape": (1, SIDE, SIDE)}, "does not take one batch of images as numbers; its inputs: image uint8 [1, 4, 4]"),
        ({"shape": (1, SIDE, SIDE, 4)}, "it must take three channels"),
        ({"operator": "CUSTOM", "custom": "Mine"}, "can load (Encountered unresolved custom op: Mine"),
    ],
)
def test_models_that_cannot_be_scored_are_refused(tmp_path: Path, made: dict[str, Any], message: str) -> None:
    assert message in refused(small(tmp_path / "m.tflite", **made))


def test_text_outputs_are_refused(tmp_path: Path) -> None:
    flat = Flat()
    image, text = flat.tensor("image", "uint8", (1, SIDE, SIDE, 3)), flat.tensor("text", "string", (1,))
    path = flat.save(tmp_path / "m.tflite", [image], [text])
    assert "m.tflite: its output text is" in refused(path)


@pytest.mark.parametrize("content", [b"", b"\x1c\0\0\0TFL3", b"no model at all", b"\x08\x07\x12\x04onnx" * 9])
def test_files_that_are_not_models_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    assert f"{path} is not a TFLite model that LiteRT" in refused(path)


FUZZ = """
import random, sys
from pathlib import Path
import numpy as np
from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import as_it_is
from pipelines.evaluate.model.runtimes import open_session
whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[1]).with_name("broken.tflite")
draw, refused = random.Random(4), 0
tail = len(whole) - 3000  # the descriptions of tensors and operators come after their numbers
for number in range(400):
    broken = bytearray(whole[: draw.randrange(len(whole))] if number % 4 == 0 else whole)
    for _ in range(draw.choice([1, 3, 9])):
        if number % 4 and broken:
            broken[draw.randrange(tail if number % 2 else 0, len(broken))] ^= 1 << draw.randrange(8)
    path.unlink(missing_ok=True)
    path.write_bytes(broken)
    try:
        session = open_session(as_it_is(path), "nhwc", "cpu")
        if session.input.batch in (None, 1) and (session.input.height, session.input.width) == (4, 4):
            session.run(np.zeros((1, 4, 4, 3), session.input.dtype))
    except UsageError as error:
        refused += 1
        assert "\\n" not in str(error)
print(refused)
"""


def test_a_damaged_model_is_refused_or_runs(tmp_path: Path) -> None:
    model = quantised(tmp_path / "m.tflite", "int8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FUZZ, str(model.path)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # not killed by a signal
    assert not done.stderr
    assert int(done.stdout) > 100


def test_a_missing_litert_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = floating(tmp_path / "m.tflite").path
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert refused(path) == "--model needs LiteRT: pip install ai-edge-litert"


def test_model_noise_does_not_apply(tmp_path: Path) -> None:
    path = floating(tmp_path / "m.tflite").path

    def images() -> Images:
        raise AssertionError("calibration is not needed")

    models = NoisedModels(path, tmp_path / "models", images)
    assert models.noised(()).path == path
    for token in ("ceil_mode", "upsample_bilinear", "fp16", "int8"):
        with pytest.raises(DoesNotApplyError, match="a TFLite model runs as it is"):
            models.noised([METHODS[token]])
        with pytest.raises(DoesNotApplyError, match="a TFLite model runs as it is"):
            nodes_changed(path, [METHODS[token]])
    assert not (tmp_path / "models").exists()
    listed = list_for(Options(model=str(path)))
    assert listed.count("no       a TFLite model runs as it is") == listed.count("no  ") - listed.count("no boxes")


def test_a_noised_copy_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    path, out = floating(tmp_path / "m.tflite").path, tmp_path / "out"
    command = ["--model", str(path), "--variant", "int8", "--output", str(out)]
    with pytest.raises(UsageError, match=r"^int8 does not apply to m\.tflite: a TFLite model runs as it is"):
        generate_models(options_of(generate._parser().parse_args(command), Options))
    assert not out.exists()
