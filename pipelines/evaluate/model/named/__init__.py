"""Models by their names in a library: `timm:resnet18.a1_in1k`, `torchvision:resnet50`.

A named model is exported to ONNX once, with a TOML for the preprocessing that the library states; from then on it is a
model like any other. A module for each library builds its models.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.evaluate.model.named.built import Library
from pipelines.options import is_named


def model_file(model: str, checkpoint: str | None, folder: Path) -> Path:
    """The file `model`; a named model is exported into `folder`, once.

    `checkpoint` replaces the library's own weights. Raises UsageError if the model or its weights do not exist, a
    library is missing, or the model cannot be exported; RunError if the export differs from the model or cannot be
    written.
    """
    if not is_named(model):
        return Path(model)
    from pipelines.evaluate.model.named.exported import exported  # only a named model needs it

    if checkpoint is not None and not Path(checkpoint).is_file():
        raise UsageError(f"--checkpoint {checkpoint} is not a file: give a .safetensors file, or one by torch.save")
    name, _, own = model.partition(":")
    library: Library = importlib.import_module(f"{__name__}.{name}").build
    return exported(library(own, Path(checkpoint) if checkpoint else None), folder)


@contextlib.contextmanager
def kept_or_not(model: str, checkpoint: str | None, folder: Path, *, kept: bool) -> Iterator[Path]:
    """`model_file`; an export that is not to be `kept` goes to a temporary folder, which the block's end removes."""
    with contextlib.ExitStack() as stack:
        if not kept:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield model_file(model, checkpoint, folder)
