"""Imports point one way: entries → pipelines → {generators, manifests}."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
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


def test_a_method_costs_no_import_until_it_is_used() -> None:
    libraries = {"PIL", "cv2", "av", "nvidia"}
    assert not libraries.intersection(imports(ROOT / "generators" / "variant.py"))
