"""Weights in a file, into a network: all of them, or none.

Takes .safetensors, and what torch.save wrote as far as its unpickler for weights alone goes: no other object is made.
Refuses a file that is neither, and weights that are not the network's.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.named.pytorch import required
from pipelines.progress import say
from pipelines.text import first_line

# Where training scripts put the weights, moving averages first, in the order of timm.models.load_state_dict.
_HOLDERS = ("state_dict_ema", "model_ema", "state_dict", "model")
# What DistributedDataParallel and torch.compile put before each name, in either order (timm.models.clean_state_dict).
_WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")
_SHOWN = 3


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint by name. Raises UsageError where it has none, or more than that."""
    torch = required("torch")
    try:
        if path.suffix == ".safetensors":
            found = required("safetensors.torch").load_file(path)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):  # the arguments, which timm's have
                found = torch.load(path, map_location="cpu", weights_only=True)
    except UsageError:
        raise
    except Exception as error:  # of damaged files, and of pickles that ask for more
        reason = _asked_for(torch, path) or first_line(error)
        raise UsageError(
            f"--checkpoint {path} cannot be read as weights alone ({reason}): save its state_dict() as .safetensors"
        ) from None
    there = [key for key in _HOLDERS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)]
    if there:
        found = found[there[0]]
    if len(there) > 1:
        say(f"{path.name} has the weights {' and '.join(there)}: {there[0]} are taken")
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UsageError(f"--checkpoint {path} holds no state_dict, tensors by name: save that of the model")
    return {_unwrapped(str(name)): tensor for name, tensor in found.items()}


def _asked_for(torch: Any, path: Path) -> str:
    """What a pickle would have called or made that is no weight; empty where it is none."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # of files that are no such pickle
        return ""
    return f"it asks for {_first(sorted(names))}" if names else ""


def load_weights(module: Any, weights: Mapping[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into a network. Raises UsageError where they are not all that it has, or others."""
    wanted = module.state_dict()
    shaped = [
        f"{name} {tuple(weights[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    wrong = {
        "missing": [name for name in wanted if name not in weights],
        "unknown": [name for name in weights if name not in wanted],
        "of another shape": shaped,
    }
    faults = "; ".join(f"{len(names)} {what} ({_first(names)})" for what, names in wrong.items() if names)
    if faults:
        raise UsageError(f"--checkpoint {path} is not of this model: of its {len(wanted)} tensors {faults}")
    module.load_state_dict(weights)


def _unwrapped(name: str) -> str:
    for prefix in _WRAPPERS:
        name = name.removeprefix(prefix)
    return name


def _first(names: Collection[str]) -> str:
    return ", ".join([*list(names)[:_SHOWN], *(["…"] if len(names) > _SHOWN else [])])
