"""A network as a library builds it from a name: with its weights, and with the preprocessing stated for them."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError


@dataclass(frozen=True)
class Built:
    """A network in evaluation mode: (N, 3, size, size) float32 in, (N, classes) out.

    `name` is the full name for `--model`; `weights` says where they are from. `stated` is its preprocessing by the keys
    of a TOML; `labels` has the ImageNet label of each output, -1 for none, if labels are not the outputs' indices.
    `notes` are lines for the user. `packages` are the distributions that decide what it computes.
    """

    name: str
    module: Any
    weights: str
    stated: Mapping[str, Any]
    packages: Sequence[str]
    labels: Sequence[int] | None = None
    notes: Sequence[str] = field(default=())

    @property
    def stem(self) -> str:
        """The stem of its files' names, which differs between checkpoints."""
        own = self.name.replace(":", "_")
        return own if self.weights == self.name else f"{own}_{Path(self.weights).stem}"


# Builds a model from its name (without the library's prefix), with the weights of a checkpoint if there is one.
Library = Callable[[str, Path | None], Built]


def unknown(library: str, name: str, known: Collection[str]) -> UsageError:
    """The error for a name that a library does not know."""
    near = difflib.get_close_matches(name, known, n=4)
    hint = f"did you mean {', '.join(near)}?" if near else f"see {library}.list_models()"
    return UsageError(f"--model {library}:{name}: {library} has no such classifier: {hint}")


def weights_sha256(module: Any) -> str:
    """The digest of a network's weights: name, dtype, shape and bytes of each, in order of names."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        array = tensor.detach().contiguous().numpy()
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()
