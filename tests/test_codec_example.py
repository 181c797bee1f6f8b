"""A learned codec as a decoder: a short run of `examples/train_codec.py`, and `examples/learned_codec.py` with it.

Skipped if PyTorch is not installed, except in CI; requirements-timm.txt has it.
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
from PIL import Image

import verify
from examples.learned_codec import recoded, session
from generators.own import own_methods
from tests import ROOT
from tests.conftest import Command
from tests.lazily import Lazily

if importlib.util.find_spec("torch") is None and not os.environ.get("CI"):
    pytest.skip("not installed: torch", allow_module_level=True)

train_codec: Any = Lazily("examples.train_codec")
torch: Any = Lazily("torch")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec trained for a moment."""
    path = tmp_path_factory.mktemp("codec") / "codec.onnx"
    assert train_codec.main(["--output", str(path), "--steps", "8"]) == 0
    return path


@pytest.fixture(scope="module")
def method(codec: Path) -> str:
    return f"learned=decode:{sys.executable} -I {ROOT}/examples/learned_codec.py {codec}"


def test_a_folder_is_not_overwritten_and_a_weight_is_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("")
    assert train_codec.main(["--output", str(tmp_path)]) == 2
    assert "is a folder: name a file" in capsys.readouterr().err
    assert (tmp_path / "mine").exists()
    for worth in ("nan", "inf", "0", "-1", "x"):
        with pytest.raises(SystemExit):
            train_codec.main(["--output", str(tmp_path / "codec.onnx"), f"--worth={worth}"])
        assert f"{worth!r} is not a number above 0" in capsys.readouterr().err


def test_the_file_is_the_network() -> None:
    torch.manual_seed(0)
    image = np.random.default_rng(1).integers(0, 256, (24, 40, 3), np.uint8)
    codec = train_codec.Codec([image], np.random.default_rng(0))
    for weight in codec.weights():
        torch.nn.init.normal_(weight, std=0.05)
    inputs = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
    file = onnxruntime.InferenceSession(train_codec.exported(codec).SerializeToString())
    found, latents = file.run(None, {"images": inputs.numpy()})
    with torch.no_grad():
        expected = codec.encode(inputs).round()
        assert expected.abs().max() >= 1
        np.testing.assert_array_equal(latents, expected)
        np.testing.assert_allclose(found, codec.decode(expected), atol=1e-4)


def test_training_lowers_the_sum_of_bits_and_error(photographs: dict[str, bytes]) -> None:
    image = np.asarray(Image.open(io.BytesIO(photographs["coffee"])).convert("RGB"))[:128, :128]
    options = train_codec.Options(steps=30)
    inputs = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
    costs = []
    for codec in (train_codec.Codec([image], np.random.default_rng(0)), train_codec.train([image], options)):
        with torch.no_grad():
            latents = codec.encode(inputs).round()
            error = ((codec.decode(latents) - inputs) ** 2).mean() * 255**2
            costs.append(float(options.worth * error + codec.bits(latents) / 128**2))
    assert costs[1] < 0.95 * costs[0]


def test_it_decodes_better_than_a_flat_image(codec: Path, method: str, photographs: dict[str, bytes]) -> None:
    (learned,) = own_methods([method])
    data = photographs["chelsea"]
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert any(side % 8 for side in pixels.shape[:2])  # the padding at the border is removed again
    found = learned.load()(data)
    np.testing.assert_array_equal(found, recoded(session(str(codec)), pixels))
    flat = np.broadcast_to(pixels.mean((0, 1)).round().astype(np.uint8), pixels.shape)
    assert train_codec.psnr(pixels, found) > train_codec.psnr(pixels, flat) + 6
    assert not np.array_equal(found, pixels)
    with pytest.raises(ValueError, match=r"Pillow cannot decode it \(UnidentifiedImageError\)"):
        learned.load()(b"no JPEG")


def test_its_set_verifies(codec: Path, method: str, generate: Command, tmp_path: Path) -> None:
    generate("--variant", "learned", "--method", method, "--limit", "2", "--output", tmp_path)
    assert verify.main([str(tmp_path)]) == 0
    rows = pq.read_table(tmp_path / "sample" / "learned" / "manifest.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert all(0 < row["residual_mean_abs"] < 30 for row in rows)
