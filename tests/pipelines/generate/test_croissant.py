"""croissant.json is valid, true, the same for the same set, and never more than a loader can open."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from manifests.images import IMAGES
from manifests.mels import MELS
from pipelines.datasets import DATASETS
from pipelines.generate import croissant
from pipelines.generate.card import TERMS
from pipelines.generate.croissant import CROISSANT, Part, parts_in
from pipelines.generate.glossary import COLUMNS
from pipelines.store import Disk
from tests import croissants
from tests.conftest import SPOKEN


@pytest.fixture(scope="module")
def root(spoken: Path) -> Path:
    return spoken / "out" / "speech"


@pytest.fixture(scope="module")
def parts(root: Path) -> list[Part]:
    return list(parts_in(Disk(str(root))))


def described(parts: list[Part], dataset: str = "speech") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(croissant.croissant(dataset, parts))
    return found


def test_recordings_load_as_their_tars_hold_them(root: Path, tmp_path: Path) -> None:
    assert croissants.check(root, tmp_path) == dict.fromkeys(SPOKEN, 6)


def test_the_file_follows_from_the_manifests_alone(root: Path, parts: list[Part]) -> None:
    held = (root / CROISSANT).read_bytes()
    assert croissant.croissant("speech", parts) == held
    assert str(root).encode() not in held
    assert len(held) < 15_000


def test_a_variant_of_another_dataset_is_left_out(parts: list[Part]) -> None:
    found = described(parts, "sample")
    assert (found["distribution"], found["recordSet"]) == ([], [])


def test_the_version_changes_with_the_variants(parts: list[Part]) -> None:
    assert described(parts)["version"] == described([*parts])["version"] != described(parts[:1])["version"]


def test_too_many_tars_are_given_by_a_pattern_and_the_rows_still_load(
    root: Path, tmp_path: Path, parts: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(croissant, "MOST_TARS", 0)
    copy = tmp_path / "speech"
    shutil.copytree(root, copy)
    found = described(parts)
    tars = [file for file in found["distribution"] if file["encodingFormat"] == "application/x-tar"]
    assert [(file["@type"], file["includes"]) for file in tars] == [
        ("cr:FileSet", f"{name}/validation-*.tar") for name in SPOKEN
    ]
    (copy / CROISSANT).write_text(json.dumps(found))
    with croissants.opened(copy / CROISSANT, tmp_path) as (dataset, missing):
        assert missing == [croissants.NO_DATE]
        for name in SPOKEN:
            table, loaded = croissants.rows(copy / name), croissants.records(dataset, name)
            assert loaded.keys() == table.keys()
            for key, record in loaded.items():
                croissants.check_row(record, table[key])


def test_a_variant_with_too_many_tars_does_not_keep_them(parts: list[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(croissant, "MOST_TARS", 0)
    assert Part.of({**parts[0].summary, "shards": parts[0].tars}, parts[0].table).tars is None


def test_every_column_is_explained() -> None:
    assert COLUMNS.keys() == {name for kind in (IMAGES, MELS) for name in kind.first_columns.names}


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_terms_are_those_of_the_card(dataset: str) -> None:
    terms = described([], dataset)["license"]
    assert terms["description"] == TERMS[dataset]
    assert dataset in ("sample", "speech") or terms["url"].startswith("https://")
