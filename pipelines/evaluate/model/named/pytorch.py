"""PyTorch and the libraries around it, imported when they are first needed, and what they say of themselves.

Refuses, with the line that installs them, where one is missing.
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
    """What needs PyTorch and libraries around it, and what installs them."""

    what: str
    install: str


BY_NAME = Needs("a model by name", "pip install -r requirements-timm.txt")


def required(module: str, needs: Needs = BY_NAME) -> Any:
    """A module of PyTorch's or of a library around it. Raises UsageError where it cannot be imported."""
    try:
        torch = importlib.import_module("torch")
        with contextlib.suppress(ModuleNotFoundError):
            _import_torchvision(torch)
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{needs.what} needs {error.name or module} ({first_line(error)}): {needs.install}") from None


def versions(distributions: Iterable[str], needs: Needs = BY_NAME) -> dict[str, str]:
    """The versions of these distributions by name. Raises UsageError where one is not installed."""
    try:
        return {name: importlib.metadata.version(name) for name in distributions}
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError(f"{needs.what} needs {error.name}: {needs.install}") from None


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what libraries warn of in their own code off the terminal, and what they print out of the results."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def fetching(name: str) -> Iterator[None]:
    """Turn what goes wrong where a library fetches weights into a line that says what to do."""
    try:
        with quietly():
            yield
    except Exception as error:  # of HTTP, of the Hub's client, of the disk, of what was fetched
        raise UsageError(
            f"the weights of {name} could not be fetched ({first_line(error)}): give them by --checkpoint FILE, or try "
            "again where there is a network"
        ) from None


def _import_torchvision(torch: Any) -> None:
    """Import torchvision, also where pip has put one built for CUDA beside a PyTorch for the CPU.

    It finds none of its operators there, which networks do without, but wants to describe two of them.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
