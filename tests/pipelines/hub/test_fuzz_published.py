"""Untrusted repositories: pulled whole, or refused in one line with nothing written outside the output folder."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.derive import derive, read_records
from manifests.schema import Recipe
from manifests.verify import records_in
from pipelines.errors import RunError
from pipelines.hub import client, published
from pipelines.hub.options import PullOptions, RebuildOptions
from pipelines.hub.published import ContradictionError
from pipelines.hub.pull import pull
from pipelines.hub.rebuild import rebuild
from pipelines.store import Disk
from pipelines.work.cluster import Ray
from tests.fuzzing import changed_bytes, changed_json, changed_tar, described, files, fuzz, make, outcome
from tests.hub import Hub
from tests.hub.state import Repo
from tests.pipelines.hub.conftest import here

NAME, VARIANT = "lab/anybody", "pil_lanczos"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("fuzz"), VARIANT) / VARIANT


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with here(tmp_path_factory.mktemp("cache")) as found:
        yield found


def hold(hub: Hub, held: Mapping[str, bytes]) -> None:
    """Make a repository of these files."""
    repo = Repo(NAME, private=False)
    lines = [("file", {"path": path, "content": base64.b64encode(data).decode()}) for path, data in held.items()]
    repo.commit("main", "Anything", "", lines)
    hub.repos[NAME] = repo


def pulled(folder: Path, variant: str = "all") -> int | None:
    """Pull into `folder / "out"`; the exit status, None if it was refused. Nothing else may be written."""
    before = files(folder)
    status = outcome(lambda: pull(PullOptions(NAME, (variant,), str(folder / "out"), None)))
    assert {path.relative_to(folder).parts[0] for path in files(folder) - before} <= {"out"}
    sets = [path for path in files(folder) if path.name == "manifest.json"]
    assert bool(sets) == (status == 0)
    assert all(path.parent == folder / "out" / "sample" / VARIANT for path in sets)
    return status


def contents(folder: Path) -> dict[str, bytes]:
    return {f"{folder.name}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_whole_set_is_pulled(hub: Hub, whole: Path, tmp_path: Path) -> None:
    hold(hub, contents(whole))
    assert pulled(tmp_path) == 0
    assert contents(tmp_path / "out" / "sample" / VARIANT) == contents(whole)


@fuzz(30)
@given(data=st.data())
def test_a_set_with_a_changed_file(
    hub: Hub, whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    held = contents(whole)
    path = data.draw(st.sampled_from(sorted(held)))
    change = described if path.endswith(".json") else changed_tar if path.endswith(".tar") else changed_bytes
    changed = data.draw(change(held[path]))
    hold(hub, held | {path: changed})
    status = pulled(tmp_path_factory.mktemp("pull"))
    assert status is None or changed == held[path]


def odd_paths(held: Mapping[str, bytes]) -> st.SearchStrategy[dict[str, bytes]]:
    """The files, with one under a name that leads elsewhere, is very long, or has terminal control characters."""
    folders = (
        "..",
        "../..",
        "/tmp",
        VARIANT,
        f"{VARIANT}/..",
        "\x1b[31m",
        "a b",
        "-rf",
        ".git",
        "x" * 250,
        "é",
        "a\\b",
    )
    names = (
        "validation-99999-of-99999.json",
        "../../x.json",
        "\x1b.json",
        "manifest.json",
        "README.md",
        "validation-.json",
    )
    odd = st.tuples(st.sampled_from(folders), st.sampled_from(names)).map("/".join)
    lost = st.sampled_from([None, *held])
    return st.tuples(lost, odd, st.sampled_from([b"{}", *held.values()])).map(
        lambda drawn: {path: data for path, data in held.items() if path != drawn[0]} | {drawn[1]: drawn[2]}
    )


@fuzz(20)
@given(data=st.data())
def test_files_under_odd_names(
    hub: Hub, whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    hold(hub, data.draw(odd_paths(contents(whole))))
    pulled(tmp_path_factory.mktemp("pull"))


def with_recipe(folder: Path, recipe: dict[str, Any]) -> dict[str, bytes]:
    """A variant's files which all agree that they were made by this recipe."""
    records = [
        dataclasses.replace(record, recipe=Recipe(**recipe)) for record in read_records(records_in(Disk(str(folder))))
    ]
    held = {f"{record.name}.json": record.to_bytes() for record in records} | derive(records).files
    return contents(folder) | {f"{folder.name}/{name}": data for name, data in held.items()}


@fuzz(30)
@given(data=st.data())
def test_a_set_that_agrees_on_a_hostile_recipe(
    hub: Hub, whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Everything that is checked against each other agrees: only the values themselves are left to check."""
    recipe = dataclasses.asdict(next(read_records(records_in(Disk(str(whole))))).recipe)
    try:
        held = with_recipe(whole, data.draw(changed_json(recipe)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return  # such a recipe cannot be written
    hold(hub, held)
    folder = tmp_path_factory.mktemp("pull")
    pulled(folder)
    before = files(folder)

    def no_ray(_: Ray) -> None:
        raise RunError("it would start")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ray, "engine", no_ray)
        outcome(lambda: rebuild(RebuildOptions(NAME, ("all",), str(folder / "rebuilt"))))
    assert {path.relative_to(folder).parts[0] for path in files(folder) - before} <= {"rebuilt"}


def test_a_set_that_is_too_large_is_not_fetched(
    hub: Hub, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(hub, contents(whole))
    sizes = {path: len(data) for path, data in contents(whole).items()}
    hub.requests.clear()
    for name, value, reason in (
        ("LARGEST_JSON", 1000, r"pil_lanczos/validation-00000-of-00002\.json has [\d,]+ bytes"),
        ("_LARGEST_SET", sum(sizes.values()) // 10, r"manifest\.json and the other files have [\d,]+ bytes"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(published, name, value)
            with pytest.raises(ContradictionError, match=reason):
                pull(PullOptions(NAME, (VARIANT,), str(tmp_path / "out"), None))
    assert not [request for request in hub.requests if "/resolve/" in request.path]
    hold(hub, contents(whole) | {f"{number}.txt": b"" for number in range(9)})
    monkeypatch.setattr(client, "_MOST_FILES", 5)
    with pytest.raises(Exception, match="has more than 5 files"):
        pull(PullOptions(NAME, (VARIANT,), str(tmp_path / "out"), None))
    assert not (tmp_path / "out").exists()
