"""Loads the weights in a file into a network: all of them, or none.

Reads .safetensors, and files of torch.save with weights_only=True, which creates no other objects. Refuses other files,
and weights of another network.
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

# The keys under which training scripts save weights, averages first, in the order of timm.models.load_state_dict.
_HOLDERS = ("state_dict_ema", "model_ema", "state_dict", "model")
# The prefixes of DistributedDataParallel and torch.compile, in either order (timm.models.clean_state_dict).
_WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")
_SHOWN = 3


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint by name. Raises UsageError if it has none, or anything else."""
    torch = required("torch")
    try:
        if path.suffix == ".safetensors":
            found = required("safetensors.torch").load_file(path)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):  # timm saves its arguments, too
                found = torch.load(path, map_location="cpu", weights_only=True)
    except UsageError:
        raise
    except Exception as error:  # damaged files, and pickles with other objects
        reason = _unsafe(torch, path) or first_line(error)
        raise UsageError(
            f"--checkpoint {path} cannot be read as weights only ({reason}): save its state_dict() as .safetensors"
        ) from None
    holders = [key for key in _HOLDERS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)]
    if holders:
        found = found[holders[0]]
    if len(holders) > 1:
        say(f"{path.name} has the weights {' and '.join(holders)}: {holders[0]} is used")
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UsageError(f"--checkpoint {path} has no state_dict of tensors by name: save that of the model")
    return {_unwrapped(str(name)): tensor for name, tensor in found.items()}


def _unsafe(torch: Any, path: Path) -> str:
    """The objects other than weights that a pickle would create, as a reason; empty if there are none."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not a pickle by torch.save
        return ""
    return f"it asks for {_first(sorted(names))}" if names else ""


def load_weights(module: Any, weights: Mapping[str, Any], path: Path) -> None:
    """Load a checkpoint's weights into a network. Raises UsageError if any are missing, unknown or of another shape."""
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
        raise UsageError(f"--checkpoint {path} is not of this model: of its {len(wanted)} tensors, {faults}")
    module.load_state_dict(weights)


def no_preprocessing(path: Path, full: str) -> str:
    """A note for the user: a checkpoint has no preprocessing, so that of the model's own weights is used."""
    return f"{path.name} does not state its preprocessing: that of {full} is used"


def _unwrapped(name: str) -> str:
    for prefix in _WRAPPERS:
        name = name.removeprefix(prefix)
    return name


def _first(names: Collection[str]) -> str:
    return ", ".join([*list(names)[:_SHOWN], *(["…"] if len(names) > _SHOWN else [])])
