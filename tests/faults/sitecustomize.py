"""Registers faulty methods in every Python process that has this folder on its PYTHONPATH, workers included."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Sequence


class _Patch(importlib.abc.MetaPathFinder):
    """Changes a module as soon as it is imported."""

    def __init__(self, name: str, change: Callable[[types.ModuleType], None]) -> None:
        self.name, self.change = name, change

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec
        assert spec.loader
        execute = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            self.change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign] # the only place to hook in
        return spec


def _register(registry: types.ModuleType) -> None:
    library = registry.Library("Faulty", "faulty", "none")
    methods = {name: registry.Method(name, "decode", library, name) for name in ("aborts", "hangs", "killed", "hungry")}
    methods["resize_aborts"] = registry.Method("resize_aborts", "resize", library, "resize_aborts")
    program = os.path.join(os.path.dirname(__file__), "harmful")
    harmful = registry.Library("Harmful", "faulty", "pillow", program)
    for harm in ("aborts", "hangs", "lives"):
        methods[f"its_{harm}"] = registry.Method(f"its_{harm}", "decode", harmful, "decode", {"harm": harm})
    methods["on_gpu"] = registry.Method("on_gpu", "decode", library, "on_gpu", gpu=True)
    vars(registry)["LIBRARIES"] = {**registry.LIBRARIES, "Faulty": library}
    vars(registry)["METHODS"] = {**registry.METHODS, **methods}


def _hurry(isolate: types.ModuleType) -> None:
    vars(isolate)["SILENCE"] = 5.0


def _hurry_process(process: types.ModuleType) -> None:
    vars(process)["TIMEOUT"] = 2.0


def _describe(provenance: types.ModuleType) -> None:
    vars(provenance)["gpu"] = lambda: {"name": "none"}


sys.meta_path.insert(0, _Patch("generators.registry", _register))
sys.meta_path.insert(0, _Patch("manifests.provenance", _describe))
sys.meta_path.insert(0, _Patch("pipelines.generate.isolate", _hurry))
sys.meta_path.insert(0, _Patch("generators.pixels.foreign.process", _hurry_process))
