"""croissant.json: valid, true, the same for the same set, and never larger than a loader can read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.generate import croissant
from pipelines.generate.card import TERMS
from pipelines.generate.croissant import CROISSANT, Part, parts_in
from pipelines.generate.datasets import DATASETS
from pipelines.store import Disk
from tests import croissants
from tests.conftest import SPOKEN


def described(root: Path, **how: Any) -> Any:
    return json.loads(croissant.croissant(parts_in(Disk(str(root))), **how))


def test_recordings_load_as_their_tars_hold_them(spoken: Path, tmp_path: Path) -> None:
    root = spoken / "out" / "speech"
    assert croissants.check(root, tmp_path) == dict.fromkeys(SPOKEN, 6)


def test_the_file_follows_from_the_manifests_alone(spoken: Path) -> None:
    root = spoken / "out" / "speech"
    held = (root / CROISSANT).read_bytes()
    assert croissant.croissant(parts_in(Disk(str(root)))) == held
    assert str(spoken).encode() not in held
    assert len(held) < 15_000


def test_the_version_is_that_of_the_results(spoken: Path) -> None:
    both = list(parts_in(Disk(str(spoken / "out" / "speech"))))
    (one, again, other) = (json.loads(croissant.croissant(parts))["version"] for parts in (both, both[:], both[:1]))
    assert one == again != other


def test_more_tars_than_a_loader_can_list_are_named_by_a_pattern(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(croissant, "MOST_TARS", 0)
    root = tmp_path / "speech"
    shutil.copytree(spoken / "out" / "speech", root)
    found = described(root)
    tars = [file for file in found["distribution"] if file["encodingFormat"] == "application/x-tar"]
    assert [(file["@type"], file["includes"]) for file in tars] == [
        ("cr:FileSet", f"{name}/validation-*.tar") for name in SPOKEN
    ]
    (root / CROISSANT).write_text(json.dumps(found))
    with croissants.opened(root / CROISSANT, tmp_path) as (dataset, missing):
        assert missing == [croissants.NO_DATE]
        for name in SPOKEN:
            table = croissants.rows(root / name)
            loaded = croissants.records(dataset, name)
            assert loaded.keys() == table.keys()
            for key, record in loaded.items():
                croissants.check_row(record, table[key])


def test_a_variant_of_too_many_shards_keeps_none_of_them(spoken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (part, _) = parts_in(Disk(str(spoken / "out" / "speech")))
    monkeypatch.setattr(croissant, "MOST_TARS", 0)
    assert Part.of({**part.summary, "shards": part.tars}, part.table).tars is None


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_terms_are_those_of_the_card(dataset: str) -> None:
    terms = croissant._licence(dataset)
    assert terms["description"] == TERMS[dataset]
    assert dataset in ("sample", "speech") or terms["url"].startswith("https://")
