"""Modules imported at their first use: every test process collects all tests, and importing PyTorch takes seconds."""

from __future__ import annotations

from pipelines.evaluate.model.named.pytorch import required


class Lazily:
    """Stands for a module of PyTorch, or one that imports it. Not for one whose classes have subclasses here."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> object:
        return getattr(required(self._module), name)
