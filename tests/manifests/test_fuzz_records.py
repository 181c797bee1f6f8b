"""Records and manifests from anyone: each is read as what it should be, or refused in one line."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import untrusted
from manifests.canonical import canonical_json
from manifests.derive import derive, read_records, table_differences
from manifests.images import COLUMNS
from manifests.row import is_key
from manifests.schema import CARD_ENTRY, MOST_SHARDS, SUMMARY, TABLE, TIMM, ManifestError, Record, parse_summary
from manifests.shape import NAME
from manifests.verify import check_card, check_folder, check_tar, decode, records_in
from pipelines.store import Disk
from tests.fuzzing import HOSTILE, changed_bytes, changed_tar, described, files, fuzz, make, outcome

RECORD = "validation-00000-of-00002.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One variant in two shards of small images."""
    return make(tmp_path_factory.mktemp("fuzz"), "pil_lanczos") / "pil_lanczos"


@fuzz(300)
@given(data=st.data())
def test_a_record_is_whole_or_refused(whole: Path, data: st.DataObject) -> None:
    content = data.draw(described((whole / RECORD).read_bytes()))
    record = outcome(lambda: Record.from_bytes(content, RECORD))
    if record:
        assert record.to_bytes() == content
        assert all(is_key(row.key) for row in record.rows)
        assert NAME.fullmatch(record.recipe.name)
        assert NAME.fullmatch(record.recipe.config["dataset"])
        assert record.shard < record.shards <= MOST_SHARDS


@fuzz(300)
@given(data=st.data())
def test_a_summary_is_whole_or_refused(whole: Path, data: st.DataObject) -> None:
    content = data.draw(described((whole / SUMMARY).read_bytes()))
    summary = outcome(lambda: parse_summary(content, SUMMARY))
    if summary:
        assert NAME.fullmatch(summary["name"])
        assert all(Path(shard["name"]).name == shard["name"] for shard in summary["shards"])
        assert f"{summary['residual']['mean_abs']:.3f}"


@fuzz(100)
@given(data=st.data())
def test_a_changed_set_is_checked_to_its_end(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever a file of a variant contains, verify.py's checks name the problem, and change nothing."""
    name = data.draw(st.sampled_from((RECORD, RECORD.replace(".json", ".tar"), SUMMARY, TABLE, TIMM)))
    content = (whole / name).read_bytes()
    change = described if name.endswith(".json") else changed_tar if name.endswith(".tar") else changed_bytes
    changed = data.draw(change(content))
    folder = tmp_path_factory.mktemp("set") / "pil_lanczos"
    shutil.copytree(whole, folder)
    (folder / name).write_bytes(changed)
    before = files(folder.parent)
    place = Disk(str(folder))
    problems = outcome(lambda: [*check_folder(place), *check_tar(place / RECORD), *check_card(place.parent)])
    assert problems is not None
    assert problems or changed == content
    assert files(folder.parent) == before


@pytest.mark.parametrize("value", [value for value in HOSTILE if isinstance(value, str)])
def test_a_card_cannot_name_folders_elsewhere(value: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"{CARD_ENTRY}{json.dumps(value)}\n")
    (problem,) = check_card(Disk(str(tmp_path)))
    assert ("missing variant" in problem.what) == bool(NAME.fullmatch(value))
    assert problem.what.isprintable()


def many(record: bytes, times: int) -> bytes:
    """A record that repeats its first row."""
    value = untrusted.parse_json(record)
    value["rows"] = {name: column[:1] * times for name, column in value["rows"].items()}
    value["samples"], value["failed"] = times, 0
    return canonical_json(value)


def test_sizes_are_bounded(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (whole / RECORD).read_bytes()
    with pytest.raises(ManifestError, match="it has the same key twice"):
        Record.from_bytes(many(data, 3), RECORD)
    with pytest.raises(ManifestError, match="not lists of at most 100,000"):
        Record.from_bytes(many(data, 100_001), RECORD)
    with pytest.raises(ManifestError, match=r"shards is 1000000000"):
        Record.from_bytes(data.replace(b'"shards":2', b'"shards":1000000000'), RECORD)
    monkeypatch.setattr("manifests.schema.record.LARGEST_JSON", len(data) - 1)
    with pytest.raises(ManifestError, match=r"it has more than [\d,]+ bytes"):
        Record.read(Disk(str(whole / RECORD)))


def test_a_duplicate_json_key_is_refused() -> None:
    with pytest.raises(ValueError, match="it has the same key twice"):
        untrusted.parse_description(b'{"a": {"b": 1, "b": 2}}')


def parquet(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


@fuzz(100)
@given(data=st.data())
def test_a_table_is_read_or_refused(whole: Path, data: st.DataObject) -> None:
    held = (whole / TABLE).read_bytes()
    changed = data.draw(changed_bytes(held))

    with contextlib.suppress(ValueError):
        outcome(lambda: list(table_differences(changed, held)))


def test_other_tables_and_bombs_are_refused(whole: Path) -> None:
    rows = pq.read_table(whole / TABLE)
    derived = derive(read_records(records_in(Disk(str(whole))))).table
    assert not list(table_differences(parquet(rows, compression="gzip"), derived))
    assert list(table_differences(parquet(rows.slice(1)), derived))
    for other in (rows.rename_columns(["a", *rows.column_names[1:]]), rows.set_column(1, "shard", rows["key"])):
        with pytest.raises(ValueError, match="it has no column"):
            list(table_differences(parquet(other), derived))
    few = pa.schema([COLUMNS.field("key")])

    def groups(data: bytes) -> list[pa.Table]:
        return list(itertools.islice(untrusted.read_groups(io.BytesIO(data), few), 9))

    repeated = parquet(pa.table({"key": pa.array(["x" * 2**20]).dictionary_encode().take(pa.array([0] * 50_000))}))
    assert len(repeated) < 2**20  # and 50 GB as text
    for bomb, reason in (
        (repeated, "a text in key has more than"),
        (parquet(pa.table({"key": ["x"] * 200_000}), row_group_size=200_000), "a row group of 200,000 rows"),
        (parquet(pa.table({"key": [f"{n}" + "x" * 4000 for n in range(80_000)]}), use_dictionary=False), "a column of"),
    ):
        with pytest.raises(ValueError, match=reason):
            groups(bomb)


def test_what_is_not_an_image_is_refused() -> None:
    for data, image_format in (
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "png"),
        (b"", "eps"),
        (b"", "npy"),
    ):
        with pytest.raises(Exception, match=r"cannot identify|No data left|EOF"):
            decode(data, image_format)
