"""PyTorch and the libraries around it, imported when first needed, with their warnings kept off the terminal.

A missing one is refused with the command that installs it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pipelines.errors import UsageError
from pipelines.text import first_line


class Needs(NamedTuple):
    """What needs PyTorch and the libraries around it, and the command that installs them."""

    what: str
    install: str


BY_NAME = Needs("a model by name", "pip install -r requirements-timm.txt")


def required(module: str, needs: Needs = BY_NAME) -> Any:
    """A module of PyTorch or of a library around it. Raises UsageError if it cannot be imported."""
    try:
        torch = importlib.import_module("torch")
        with contextlib.suppress(ModuleNotFoundError):
            _import_torchvision(torch)
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{needs.what} needs {error.name or module} ({first_line(error)}): {needs.install}") from None


def versions(distributions: Iterable[str], needs: Needs = BY_NAME) -> dict[str, str]:
    """The versions of these distributions by name. Raises UsageError if one is not installed."""
    try:
        return {name: importlib.metadata.version(name) for name in distributions}
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError(f"{needs.what} needs {error.name}: {needs.install}") from None


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Suppress the libraries' warnings, and send what they print to stderr, away from the results."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def fetching(name: str) -> Iterator[None]:
    """Turns errors of fetching weights into UsageError."""
    try:
        with quietly():
            yield
    except Exception as error:  # of HTTP, the Hub's client, the disk or the weights
        raise UsageError(
            f"the weights of {name} could not be fetched ({first_line(error)}): give --checkpoint FILE, or try again "
            "with a network connection"
        ) from None


def _import_torchvision(torch: Any) -> None:
    """Import torchvision, even if it was built for CUDA and PyTorch for the CPU.

    It does not find its operators then, which networks do not need, but it fails unless two of them are defined.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
