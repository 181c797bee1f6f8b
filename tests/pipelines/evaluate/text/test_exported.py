"""`--model hf:FOLDER`, compared with transformers itself, and the messages if it, or a model, is missing.

Without transformers all tests but those of the messages are skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from pipelines.errors import RunError, UsageError
from pipelines.evaluate.model.named.pytorch import quietly, required
from pipelines.evaluate.text import exported as exports
from pipelines.evaluate.text.exported import exported, folder_of

LIBRARIES = ("torch", "onnxscript", "transformers")
needs_transformers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in LIBRARIES),
    reason="PyTorch and transformers are not installed: pip install -r requirements-timm.txt",
)
VOCABULARY = 90


def save(folder: Path, kind: str, seed: int = 3) -> Any:
    """Save a tiny transformers network in a folder; returns the network."""
    torch, transformers = required("torch"), required("transformers")
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": VOCABULARY}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    more = {"opt": {"ffn_dim": 24, "word_embed_proj_dim": 16}, "llama": {"intermediate_size": 24}}[kind]
    with quietly():
        config = transformers.AutoConfig.for_model(kind, **sizes, **ends, **more)
        network = transformers.AutoModelForCausalLM.from_config(config).eval()
        network.save_pretrained(folder)
    return network


@needs_transformers
@pytest.mark.parametrize("kind", ["opt", "llama"])
def test_an_export_is_the_network_whatever_the_batch(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / kind
    torch, network = required("torch"), save(folder, kind)
    path = exported(folder, tmp_path / "out")
    assert path == tmp_path / "out" / f"{kind}.onnx"
    session = onnxruntime.InferenceSession(path)
    assert [one.name for one in session.get_inputs()] == ["input_ids", "attention_mask", "position_ids"]
    ids = np.random.default_rng(1).integers(3, VOCABULARY, (3, 21))
    lengths = np.array([21, 9, 1])
    places = np.tile(np.arange(21), (3, 1))
    mask = (places < lengths[:, None]).astype(np.int64)
    (logits,) = session.run(None, {"input_ids": ids, "attention_mask": mask, "position_ids": places})
    with torch.inference_mode():
        for row, own, length in zip(ids, logits, lengths, strict=True):
            alone = network(torch.tensor(row[None, :length])).logits[0].numpy()
            np.testing.assert_allclose(own[:length], alone, atol=1e-5)

    written = path.with_suffix(".json").read_text("utf-8")
    assert json.loads(written)["checked"]["largest_difference"] < 1e-5
    assert str(tmp_path) not in written
    capsys.readouterr()
    monkeypatch.setattr(exports, "write", None)  # which must not be called again
    assert exported(folder, tmp_path / "out") == path
    assert "exporting" not in capsys.readouterr().err

    save(folder, kind, seed=4)
    before = path.read_bytes()
    monkeypatch.setattr(exports, "write", lambda *given: given[5].write_bytes(before))
    with pytest.raises(RunError, match="is not the same model: its logits"):
        exported(folder, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@needs_transformers
def test_a_folder_with_another_kind_of_model_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"is not a causal language model that transformers .* can load"):
        exported(folder_of(f"hf:{tmp_path}"), tmp_path / "out")


@needs_transformers
def test_missing_weights_are_refused(tmp_path: Path) -> None:
    """As in a classifier's folder, which has all weights of the causal model except its head."""
    save(tmp_path, "llama")
    safetensors = importlib.import_module("safetensors.numpy")
    weights = safetensors.load_file(tmp_path / "model.safetensors")
    del weights["lm_head.weight"]
    safetensors.save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=r"lacks weights of a LlamaForCausalLM \(lm_head\.weight\)"):
        exported(folder_of(f"hf:{tmp_path}"), tmp_path / "out")


def test_missing_files_and_libraries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        folder_of(f"hf:{tmp_path}/none")
    with pytest.raises(UsageError, match=r"has no config\.json"):
        folder_of(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"has no \*\.safetensors or pytorch_model"):
        folder_of(f"hf:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(exports, "versions", lambda *_: {})
    with pytest.raises(UsageError, match=r"hf:FOLDER needs torch .*: pip install -r requirements-timm.txt"):
        exported(folder_of(f"hf:{tmp_path}"), tmp_path / "out")
