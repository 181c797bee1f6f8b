"""docs/architecture.md shows the packages, their imports and their files as they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests import ROOT
from tests.documents import blocks, read, table

PAGE = "docs/architecture.md"
ENTRIES = ("generate", "score", "verify", "hub")
PACKAGES = ("generators", "manifests", "pipelines")
# What `pipelines/` has besides packages is `common`, except for this.
RUN = "run"


def node(module: str) -> str:
    """The box of the picture that a module is in: `pipelines.store.disk` is in `store`."""
    top, *below = module.split(".")
    if top != "pipelines":
        return "entries" if top in ENTRIES else top
    if below and ((ROOT / top / below[0]).is_dir() or below[0] == RUN):
        return below[0]
    return "common"


def imported(path: Path) -> Iterator[str]:
    """The project's modules that a file imports, at any depth of its code."""
    for found in ast.walk(ast.parse(path.read_text())):
        if isinstance(found, ast.Import):
            names = [alias.name for alias in found.names]
        elif isinstance(found, ast.ImportFrom) and found.module:
            names = [f"{found.module}.{alias.name}" for alias in found.names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in PACKAGES)


def imports() -> dict[str, set[str]]:
    """For each box, those that its files import."""
    files = [ROOT / f"{name}.py" for name in ENTRIES]
    files += [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    found: dict[str, set[str]] = {}
    for path in files:
        own = node(".".join(path.relative_to(ROOT).with_suffix("").parts))
        found.setdefault(own, set()).update({node(name) for name in imported(path)} - {own})
    return found


def reached(start: str, arrows: dict[str, set[str]]) -> set[str]:
    """Every box below one, along any number of arrows."""
    below = set(arrows.get(start, ()))
    return below.union(*(reached(each, arrows) for each in below))


def drawn() -> dict[str, set[str]]:
    (picture,) = blocks(PAGE, "mermaid")
    found: dict[str, set[str]] = {}
    for upper, lower in re.findall(r"^ +([\w &]+) --> ([\w &]+)$", picture, re.MULTILINE):
        for name in upper.split(" & "):
            found.setdefault(name, set()).update(lower.split(" & "))
    return found


def test_no_package_imports_one_above_it() -> None:
    arrows = imports()
    order: list[str] = []
    while ready := sorted(name for name in arrows.keys() - {*order} if arrows[name] <= {*order}):
        order += ready
    assert not arrows.keys() - {*order}, "these import each other"


def test_the_arrows_of_the_picture_are_the_imports() -> None:
    arrows = imports()
    shortest = {
        name: lower - set().union(*(reached(each, arrows) for each in lower)) for name, lower in arrows.items() if lower
    }
    assert drawn() == shortest


def test_the_table_has_every_package() -> None:
    named = {cell for (cell, _) in table(PAGE, "package")}
    packages = {
        f"`{path.parent.relative_to(ROOT).as_posix()}/`"
        for package in PACKAGES
        for path in (*(ROOT / package).glob("__init__.py"), *(ROOT / package).glob("*/__init__.py"))
    }
    assert named == packages


def test_packages_within_packages_are_in_their_row() -> None:
    for name in ("generate", "evaluate"):
        ((_, does),) = [row for row in table(PAGE, "package") if row[0] == f"`pipelines/{name}/`"]
        inside = {f"{path.parent.name}/" for path in (ROOT / "pipelines" / name).glob("*/__init__.py")}
        assert set(re.findall(r"`(\w+/)`", does)) == inside


def test_every_loose_module_is_named() -> None:
    assert all(f"`{path.stem}`" in read(PAGE) for path in (ROOT / "pipelines").glob("[!_]*.py"))


def test_every_file_and_folder_in_the_text_exists() -> None:
    """In the table of packages, `heads/` is below the row's package; where a file is new, its folder exists."""
    missing, count = [], 0
    for line in read(PAGE).splitlines():
        row = re.match(r"\| `((?:\w+/)+)` ", line)
        for name in re.findall(r"`((?:[\w-]+/)+(?:[\w.-]+)?|[\w-]+\.py)`", line):
            path = Path(name).parent if Path(name).stem == "NAME" else Path(name)
            count += 1
            if not any((ROOT / below / path).exists() for below in ("", *(row.groups() if row else ()))):
                missing.append(name)
    assert not missing
    assert count > 80


def test_steps_name_modules_in_their_order() -> None:
    steps = table(PAGE, "step")
    assert [int(number) for number, *_ in steps] == list(range(1, len(steps) + 1))
