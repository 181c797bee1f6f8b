"""Models by the names that libraries have for them: `timm:resnet18.a1_in1k` and `torchvision:resnet50`.

A name becomes an ONNX file, once, with a TOML beside it that says what the library says of the weights' preprocessing;
from there on it is a model as any other. A module for each library builds what its names stand for.
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
    """The file that `model` is, or, where it is a name, was exported to; that lies in `folder`, and is made once.

    `checkpoint` has weights for a name, in place of the library's own. Raises UsageError where there are no such model
    and weights, where a library is missing, or where the model cannot be exported, and RunError where the export is not
    the model or cannot be written.
    """
    if not is_named(model):
        return Path(model)
    from pipelines.evaluate.model.named.exported import exported  # which only a name needs

    if checkpoint is not None and not Path(checkpoint).is_file():
        raise UsageError(f"--checkpoint {checkpoint} is no file: give a .safetensors, or what torch.save wrote")
    name, _, own = model.partition(":")
    library: Library = importlib.import_module(f"{__name__}.{name}").build
    return exported(library(own, Path(checkpoint) if checkpoint else None), folder)


@contextlib.contextmanager
def kept_or_not(model: str, checkpoint: str | None, folder: Path, *, kept: bool) -> Iterator[Path]:
    """`model_file`, which, unless it is to be `kept`, lies elsewhere than in `folder` and is gone after the block."""
    with contextlib.ExitStack() as stack:
        if not kept:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield model_file(model, checkpoint, folder)
