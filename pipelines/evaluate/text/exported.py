"""Exports transformers folders (`--model hf:FOLDER`) to `NAME.onnx`, with `NAME.json` recording what it was made from.

A folder is exported once. Inputs: (batch, length) int64 `input_ids`, `attention_mask` and, if the network takes them,
`position_ids`. Output: float32 `logits` (batch, length, vocabulary). There is no cache. Nothing is downloaded, and no
code in the folder is run. Refuses an export whose logits differ from PyTorch's.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from manifests.provenance import code_sha256
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.model.named.program import OPSET, write
from pipelines.evaluate.model.named.pytorch import Needs, quietly, required, versions
from pipelines.evaluate.model.weights import model_sha256
from pipelines.progress import say
from pipelines.store.files import replacing
from pipelines.text import first_line

HF = "hf:"
_NEEDS = Needs("--model hf:FOLDER", "pip install -r requirements-timm.txt")
_ROOT = Path(__file__).resolve().parents[3]
# The code that determines an export's bytes.
_CODE = (
    "generators/models/graph.py",
    "pipelines/evaluate/model/named/program.py",
    "pipelines/evaluate/text/exported.py",
)
# The files in a folder that determine the network and its weights.
_CONFIG, _WEIGHTS = "config.json", ("*.safetensors", "pytorch_model*.bin")
_LIBRARIES = ("onnx", "onnx-ir", "onnxscript", "torch", "transformers")
_INPUTS = ("input_ids", "attention_mask", "position_ids")
# How much an export's logits may differ from the network's, as a share of the largest.
TOLERANCE = 1e-4
# The lengths, in tokens, of the rows on which the two are compared.
_LENGTHS = (12, 7, 1)
_BLOCK = 1 << 20
# How many missing tensors a message names.
_NAMED = 3


class _Network(NamedTuple):
    """A network in evaluation mode, which of `_INPUTS` it takes, and the size of its vocabulary."""

    module: Any
    inputs: tuple[str, ...]
    vocabulary: int


def exported(source: Path, output: Path) -> Path:
    """The ONNX file in `output` for a folder (`folder_of`), exported if it does not exist.

    Raises UsageError if the folder has no causal language model, a library is missing or the export fails, and
    RunError if the export differs from the network or cannot be written.
    """
    path = output / f"{source.resolve().name}.onnx"
    facts = {
        "model": {"folder": source.resolve().name, "sha256": _digest(source)},
        "opset": OPSET,
        "libraries": versions(_LIBRARIES, _NEEDS),
        "code_sha256": code_sha256(_ROOT, _CODE),
    }
    about = _about(path, facts) or _make(source, path, facts)
    checked = about["checked"]
    say(
        f"{HF}{source} is exported to {path}, whose logits (up to {checked['largest_logit']:.3g}) differ from "
        f"PyTorch's by at most {checked['largest_difference']:.1g}"
    )
    return path


def folder_of(model: str) -> Path:
    """The folder named by `hf:FOLDER`. Raises UsageError if it has no network with its weights."""
    source = Path(model.removeprefix(HF))
    if not source.is_dir():
        raise UsageError(
            f"--model {model} is not a folder: give one that save_pretrained wrote, or a clone of a repository on the "
            "Hub"
        )
    if not (source / _CONFIG).is_file() or not _weights(source):
        lacking = " or ".join(_WEIGHTS) if (source / _CONFIG).is_file() else _CONFIG
        raise UsageError(f"--model {model} has no {lacking}: give a folder that save_pretrained wrote")
    return source


def _weights(source: Path) -> list[Path]:
    return sorted(path for pattern in _WEIGHTS for path in source.glob(pattern))


def _digest(source: Path) -> str:
    """The SHA-256 of a folder's configuration and weights."""
    digest = hashlib.sha256()
    for path in (source / _CONFIG, *_weights(source)):
        digest.update(path.name.encode() + b"\n")
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _make(source: Path, path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    say(f"exporting {HF}{source} to ONNX")
    network = _load(source)
    path.with_suffix(".json").unlink(missing_ok=True)
    torch = required("torch", _NEEDS)
    ids = torch.arange(2 * _LENGTHS[0]).reshape(2, -1) % network.vocabulary
    inputs = {name: _values(torch, name, ids, [_LENGTHS[0], _LENGTHS[1]]) for name in network.inputs}
    try:
        write(f"{HF}{source}", _bare(torch, network), inputs, "logits", ("batch", "length"), path, _NEEDS)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}); no partial file is left") from None
    try:
        checked = _compare(source, network, path)
    except (RunError, UsageError):
        path.unlink()  # so that nobody takes it for the model
        raise
    about = {**facts, "checked": checked, "sha256": model_sha256(path)}
    with replacing(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return about


def _load(source: Path) -> _Network:
    """A folder's network with its weights in single precision. Raises UsageError."""
    torch, transformers = required("torch", _NEEDS), required("transformers", _NEEDS)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        with quietly():
            module, loaded = transformers.AutoModelForCausalLM.from_pretrained(
                source,
                dtype=torch.float32,
                attn_implementation="eager",
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:  # damaged files, other kinds of models and custom code raise all kinds of errors
        raise UsageError(
            f"--model {HF}{source} is not a causal language model that transformers {transformers.__version__} can "
            f"load ({first_line(error)})"
        ) from None
    if lacking := sorted(loaded["missing_keys"]):
        raise UsageError(
            f"--model {HF}{source} lacks weights of a {type(module).__name__} ({', '.join(lacking[:_NAMED])}), which "
            "transformers would initialise at random: give the whole folder of a causal language model"
        )
    module.train(False)
    known = inspect.signature(module.forward).parameters
    return _Network(module, tuple(itertools.takewhile(known.__contains__, _INPUTS)), module.config.vocab_size)


def _bare(torch: Any, network: _Network) -> Any:
    """The network as tensors in, logits out; the exporter needs each input by name."""

    class Bare(torch.nn.Module):  # type: ignore[misc] # torch is imported only when it is needed
        def __init__(self) -> None:
            super().__init__()
            self.module = network.module

        def forward(self, input_ids: Any, attention_mask: Any = None, position_ids: Any = None) -> Any:
            values = dict(zip(_INPUTS, (input_ids, attention_mask, position_ids), strict=True))
            given = {name: values[name] for name in network.inputs}
            return self.module(**given, use_cache=False, return_dict=True).logits

    return Bare()


def _values(torch: Any, name: str, ids: Any, lengths: list[int]) -> Any:
    """An input for rows of tokens that are padded on the right."""
    places = torch.arange(ids.shape[1]).expand(ids.shape).contiguous()
    if name == "attention_mask":
        return (places < torch.tensor(lengths)[:, None]).long()
    return ids if name == "input_ids" else places


def _compare(source: Path, network: _Network, path: Path) -> dict[str, float]:
    """How much an export's logits for a padded batch differ from the network's for each row by itself.

    Raises RunError if they differ by more than `TOLERANCE`.
    """
    from pipelines.evaluate.text.causal import CausalModel

    torch = required("torch", _NEEDS)
    random = np.random.default_rng(0)
    rows = [random.integers(0, network.vocabulary, length).tolist() for length in _LENGTHS]
    found = CausalModel(path).run(rows)
    difference = largest = 0.0
    with torch.inference_mode():
        for row, own in zip(rows, found, strict=True):
            expected = network.module(torch.tensor([row])).logits[0].numpy()
            difference = max(difference, float(np.abs(own[: len(row)] - expected).max()))
            largest = max(largest, float(np.abs(expected).max()))
    if not difference <= TOLERANCE * largest:  # also if one of them is NaN
        raise RunError(
            f"the ONNX export of {HF}{source} is not the same model: its logits (up to {largest:.3g}) differ by "
            f"{difference:.3g}; export it yourself"
        )
    return {"largest_difference": difference, "largest_logit": largest}


def _about(path: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was recorded about an existing export, if it is whole and made from these `facts`; else None."""
    try:
        about: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        expected = {**facts, "checked": dict(about["checked"]), "sha256": model_sha256(path)}
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return None
    return about if about == expected else None
