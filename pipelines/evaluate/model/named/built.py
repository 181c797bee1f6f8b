"""What a library makes of a name: a network with its weights, and what it says of them."""

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

    `name` is as `--model` takes it, in full; `weights` says where they are from. `stated` has its preprocessing by the
    keys of a TOML, and `labels` the ImageNet label of each output, -1 for none, where it is not its number. `notes` are
    lines for the user. `packages` are the distributions that decide what it computes.
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
        """The name of its files: two checkpoints have two."""
        own = self.name.replace(":", "_")
        return own if self.weights == self.name else f"{own}_{Path(self.weights).stem}"


# Builds what a name, without the library's own, stands for; with the weights of a checkpoint where there is one.
Library = Callable[[str, Path | None], Built]


def unknown(library: str, name: str, known: Collection[str]) -> UsageError:
    """What is said of a name that a library does not know."""
    near = difflib.get_close_matches(name, known, n=4)
    hint = f"did you mean {', '.join(near)}?" if near else f"see {library}.list_models()"
    return UsageError(f"--model {library}:{name}: {library} has no such classifier: {hint}")


def weights_sha256(module: Any) -> str:
    """Of a network's weights: name, type, shape and bytes of each, in order of names."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        array = tensor.detach().contiguous().numpy()
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()
