"""Imports point one way: entries → pipelines → {generators, manifests}; and no untrusted input is run or unpacked."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("generators", "manifests", "pipelines")
ENTRIES = ("generate", "verify", "score", "hub")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("generators", {"manifests", "pipelines", "ray", *ENTRIES}),
        ("manifests", {"generators", "pipelines", "ray", *ENTRIES}),
        ("pipelines", set(ENTRIES)),
    ],
)
def test_imports_point_one_way(package: str, forbidden: set[str]) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = {(path.name, name) for path in files for name in imports(path) if name in forbidden}
    assert not found


def test_a_method_s_library_is_imported_only_when_used() -> None:
    libraries = {"PIL", "cv2", "av", "nvidia", "onnx", "onnx_ir"}
    for name in ("registry", "variant"):
        assert not libraries.intersection(imports(ROOT / "generators" / f"{name}.py"))


def test_making_shards_does_not_know_scoring_or_the_hub() -> None:
    for path in (ROOT / "pipelines" / "generate").rglob("*.py"):
        assert not {"pipelines.evaluate", "pipelines.hub"}.intersection(re.findall(r"pipelines\.\w+", path.read_text()))


def test_finished_sets_are_read_without_scoring_or_the_hub() -> None:
    for path in (ROOT / "pipelines" / "shards").rglob("*.py"):
        assert not {"pipelines.evaluate", "pipelines.hub"}.intersection(re.findall(r"pipelines\.\w+", path.read_text()))


def test_only_passes_import_onnx() -> None:
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    others = files - set((ROOT / "generators" / "models").rglob("*.py"))
    assert not [path.name for path in others if {"onnx", "onnx_ir"} & set(imports(path))]


def shipped() -> list[Path]:
    return [ROOT / f"{name}.py" for name in ENTRIES] + [p for name in PACKAGES for p in (ROOT / name).rglob("*.py")]


# Modules that can run code from the data that they read.
RUNNING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "jsonpickle"}


def dangers(tree: ast.AST) -> Iterator[str]:
    """Calls that could run code from a file, or write to a path from an archive."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"import {name}" for name in names if name.partition(".")[0] in RUNNING)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, name = called.rpartition(".")
        given = {word.arg: word.value for word in node.keywords}
        if name in ("extract", "extractall", "unpack_archive", "eval", "exec") or called in ("eval", "exec"):
            yield called
        if owner == "yaml" and name in ("load", "load_all", "unsafe_load", "full_load"):
            yield called
        if owner == "torch" and name == "load" and not _is(given.get("weights_only"), True):
            yield f"{called} without weights_only=True"
        reads = owner in ("np", "numpy") and name in ("load", "fromfile", "memmap")
        if reads and not _is(given.get("allow_pickle"), False):
            yield f"{called} without allow_pickle=False"
        trusts = "trust_remote_code" in given and not _is(given["trust_remote_code"], False)
        if given.get("shell") or trusts or called in ("os.system", "os.popen"):
            yield called


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_no_input_is_run_or_unpacked() -> None:
    found = [(path.name, danger) for path in shipped() for danger in dangers(ast.parse(path.read_text()))]
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "np.load(f)",
        "np.load(f, allow_pickle=True)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "tar.extractall(p)",
        "zipfile.ZipFile(f).extract(m)",
        "yaml.load(f)",
        "eval(text)",
        "subprocess.run(c, shell=True)",
    ],
)
def test_dangerous_calls_are_found(code: str) -> None:
    assert list(dangers(ast.parse(code)))
