"""The column of source profiles, and sets made before it existed."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from generators.variant import parse
from manifests.canonical import canonical_json
from manifests.derive import derive, read_records
from manifests.images import COLUMNS, IMAGES
from manifests.schema import TABLE, ManifestError, Record
from manifests.verify import check_folder, check_tar, records_in
from pipelines.generate.config import ImageConfig, describe
from pipelines.generate.output import Output
from pipelines.generate.shard import Job, Task, make_shard
from pipelines.generate.sources.find import find
from pipelines.options import Inputs
from pipelines.store import Disk
from tests.fuzzing import make
from tests.machine import recipe_here
from tests.rows import image_rows
from tests.steps import result_of

RECORDS = ("validation-00000-of-00002.json", "validation-00001-of-00002.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset's folder: one variant and the reference, each in two shards of two samples."""
    return make(tmp_path_factory.mktemp("whole"), "pil_lanczos")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of the variant."""
    shutil.copytree(whole, tmp_path / "sample")
    return tmp_path / "sample" / "pil_lanczos"


def without(data: bytes) -> bytes:
    """A record from before the column existed."""
    value = json.loads(data)
    del value["rows"]["source_profile"]
    return canonical_json(value)


def make_old(folder: Path, *names: str) -> None:
    """Turn records of a whole set into old ones, and derive the manifests that it had."""
    for name in names:
        (folder / name).write_bytes(without((folder / name).read_bytes()))
    for name, data in derive(read_records(records_in(Disk(str(folder))))).files.items():
        (folder / name).write_bytes(data)


def problems(folder: Path) -> list[str]:
    place = Disk(str(folder))
    return [
        str(problem) for problem in (*check_folder(place), *(p for name in RECORDS for p in check_tar(place / name)))
    ]


def test_records_and_tables_have_the_column(folder: Path) -> None:
    record = Record.read(Disk(str(folder / RECORDS[0])))
    assert [row.source_profile for row in image_rows(record)] == ["", ""]
    table = pq.read_table(folder / TABLE)
    assert table.schema.equals(COLUMNS)
    assert table["source_profile"].to_pylist() == [""] * 4


def test_a_set_without_the_column_is_still_whole(folder: Path) -> None:
    make_old(folder, *RECORDS)
    old = (folder / RECORDS[0]).read_bytes()
    record = Record.from_bytes(old, "record")
    assert record.to_bytes() == old
    assert {row.source_profile for row in image_rows(record)} == {None}
    assert pq.read_table(folder / TABLE).schema.equals(IMAGES.first_columns)
    assert problems(folder) == []


def test_dropping_the_column_from_a_table_is_noticed(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / TABLE).drop_columns(["source_profile"]), folder / TABLE)
    assert any("of 20 columns, but the records say 4 of 21" in problem for problem in problems(folder))


@pytest.mark.parametrize("old", [0, 1])
def test_a_set_begun_without_the_column_is_continued(folder: Path, old: int) -> None:
    """Both versions make the same tars."""
    tars = [(folder / name).with_suffix(".tar").read_bytes() for name in RECORDS]
    for path in folder.iterdir():
        if path.stem != Path(RECORDS[old]).stem:
            path.unlink()
    (folder / RECORDS[old]).write_bytes(without((folder / RECORDS[old]).read_bytes()))
    found = find("sample", Inputs(), 4)
    config = ImageConfig("sample", "crop", (16,), "pil", "png", 2, describe(found))
    variant = parse("pil_lanczos", config.base)
    recipe = recipe_here(config, variant)
    with Output(Disk(str(folder.parent))).locked() as output:
        output.begin({variant.name: recipe}, overwrite=False)
        assert output.done(variant.name, 2, recipe) == {old}
        job = Job(config, found.source, output, {variant.name: recipe})
        new = 1 - old
        result_of(make_shard(Task(new, 2, found.samples[2 * new : 2 * new + 2], (variant,)), job, {}))
        output.finish(recipe, 2)
    assert [(folder / name).with_suffix(".tar").read_bytes() for name in RECORDS] == tars
    assert problems(folder) == []


@pytest.mark.parametrize("profile", ["a\nb", "\x1b[31m", 3, ["sRGB"], {}])
def test_only_names_are_profiles(folder: Path, profile: object) -> None:
    value = json.loads((folder / RECORDS[0]).read_bytes())
    value["rows"]["source_profile"][0] = profile
    with pytest.raises(ManifestError, match="profile"):
        Record.from_bytes(canonical_json(value), "record")


def test_a_record_has_no_column_of_nulls(folder: Path) -> None:
    value = json.loads((folder / RECORDS[0]).read_bytes())
    value["rows"]["source_profile"] = [None, None]
    with pytest.raises(ManifestError, match="contradict"):
        Record.from_bytes(canonical_json(value), "record")
    value["rows"]["source_profile"] = ["sRGB", "Wide"]
    record = Record.from_bytes(canonical_json(value), "record")
    table = pq.read_table(io.BytesIO(derive([record]).table))
    assert table["source_profile"].to_pylist() == ["sRGB", "Wide"]
