"""croissant.json on the Hub loads without a local copy, with and without pixels, and a pulled set has its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.hub.options import PullOptions, PushOptions
from pipelines.hub.pull import pull
from pipelines.hub.push import push
from tests import croissants
from tests.hub import Hub
from tests.hub.state import Repo
from tests.pipelines.hub.conftest import COMBINED, NAME, VARIANTS, here, hold

# The Hub's client sends files in a way that its HTTP library no longer likes.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")


def test_images_load_as_their_tars_hold_them(made: Path, tmp_path: Path) -> None:
    assert croissants.check(made, tmp_path) == dict.fromkeys(VARIANTS, 9)


@pytest.mark.parametrize("pixels", [True, False])
def test_a_repository_is_loaded_from_its_address(made: Path, tmp_path: Path, pixels: bool) -> None:
    options = PushOptions(str(made), NAME, variants=(COMBINED,), public=True, manifests_only=not pixels)
    with here(tmp_path / "home") as hub:
        assert push(options) == 0
        address = f"{hub.url}/datasets/{NAME}"
        with croissants.opened(f"{address}/resolve/main/croissant.json", tmp_path / "cache") as (dataset, missing):
            assert not missing
            assert (dataset.metadata.url, f"{dataset.metadata.date_published:%Y-%m-%d}") == (address, "2026-01-02")
            found = croissants.records(dataset, COMBINED)
    table, tars = croissants.rows(made / COMBINED), croissants.members(made / COMBINED)
    assert found.keys() == table.keys()
    for key, record in found.items():
        croissants.check_row(record, table[key])
        assert ("image" in record) == pixels
        if pixels:
            croissants.check_members(record, tars[key])


def held(hub: Hub) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hub.repo(NAME).files()["croissant.json"])
    return found


def hashes(found: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    return [(file["@id"], file.get("sha256")) for file in found["distribution"]]


def test_variants_that_follow_join_those_that_are_there(made: Path, tmp_path: Path) -> None:
    with here(tmp_path / "home") as hub:
        assert push(PushOptions(str(made), NAME, variants=("opencv",))) == 0
        assert [one["@id"] for one in held(hub)["recordSet"]] == ["opencv"]
        assert push(PushOptions(str(made), NAME, variants=tuple(VARIANTS[1:]))) == 0
        assert hashes(held(hub)) == hashes(json.loads((made / "croissant.json").read_bytes()))


def test_a_variant_that_lost_its_table_is_left_out(made: Path, tmp_path: Path) -> None:
    with here(tmp_path / "home") as hub:
        assert push(PushOptions(str(made), NAME, variants=("opencv",))) == 0
        hub.repo(NAME).commit("main", "Lose it", "", [("deletedFile", {"path": "opencv/manifest.parquet"})])
        assert push(PushOptions(str(made), NAME, variants=("pil_lanczos",))) == 0
        assert [one["@id"] for one in held(hub)["recordSet"]] == ["pil_lanczos"]


def test_what_is_pulled_is_described_as_it_was(made: Path, published: Repo, tmp_path: Path) -> None:
    with here(tmp_path / "home") as hub:
        hold(hub, published)
        assert pull(PullOptions(NAME, variants=("all",), output=str(tmp_path / "out"))) == 0
    assert (tmp_path / "out" / "sample" / "croissant.json").read_bytes() == (made / "croissant.json").read_bytes()
