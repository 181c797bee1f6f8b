"""Records and manifests of mel spectrograms: what is written can be read, and damage is refused."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from manifests.canonical import canonical_json
from manifests.derive import derive
from manifests.mels import COLUMNS, MELS
from manifests.plain import are_plain
from manifests.schema import SUMMARY, TABLE, ManifestError, Record, parse_summary
from manifests.schema.record import check_rows
from pipelines.generate.tar import TarWriter
from pipelines.store import Disk
from tests.fuzzing import HOSTILE
from tests.manifests.mel_sets import FRAMES, NAMES, RECIPE, Mel, mels, problems, row, write


def test_a_set_survives_a_round_trip(tmp_path: Path) -> None:
    records = write(tmp_path)
    assert [Record.read(Disk(str(tmp_path / f"{name}.json"))) for name in NAMES] == records
    table = pq.read_table(tmp_path / TABLE)
    assert table.schema.equals(COLUMNS)
    assert table.to_pylist() == [
        {name: getattr(row, name) for name in COLUMNS.names} for record in records for row in record.rows
    ]
    summary = parse_summary((tmp_path / SUMMARY).read_bytes(), SUMMARY)
    assert summary == derive(records).summary
    assert summary["mel"] == RECIPE.config["mel"]
    assert "geometry" not in summary
    assert problems(tmp_path) == []


def test_the_summarys_residuals_cover_all_values() -> None:
    """A recording that failed, or that cannot be compared, contributes none."""
    made, base = mels(1)
    rows = [row(number, *pair) for number, pair in enumerate(zip(made, base, strict=True))]
    rows.append(row(4, made[0], None))
    rows.append(replace(row(5, made[0], None), status="failed", error="source: empty", mel_sha256=""))
    halves = [Record(shard, 2, 0, "0" * 64, RECIPE, tuple(rows[shard::2])) for shard in (0, 1)]
    found = derive(halves).summary["residual"]
    both = [(mine[:, : min(of)], theirs[:, : min(of)]) for mine, theirs, of in zip(made, base, FRAMES, strict=True)]
    differences = [mine.astype(np.float64) - theirs for mine, theirs in both]
    assert found.pop("mse") == pytest.approx(np.mean([np.square(values).mean() for values in differences]), rel=1e-15)
    assert found == {
        "compared": 4,
        "max_abs": np.abs(np.concatenate([values.ravel() for values in differences])).max(),
        "frames": 2,
        "degenerate": False,
    }


def test_variants_are_degenerate_if_all_values_and_lengths_agree() -> None:
    made, _ = mels(2)

    def degenerate(*pairs: tuple[Mel, Mel]) -> object:
        rows = tuple(row(number, *pair) for number, pair in enumerate(pairs))
        return derive([Record(0, 1, 0, "0" * 64, RECIPE, rows)]).summary["residual"]["degenerate"]

    same, other = (made[0], made[0]), (made[0], np.nextafter(made[0], np.float32(9)))
    assert degenerate(same, (made[1], made[1])) is True
    assert degenerate(same, other) is False
    assert degenerate(same, (made[1][:, :-1], made[1])) is False
    assert degenerate() is None


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("text", None, "text of 'LJ001-0000' is None, not string"),
        ("text", ["a"], r"text of 'LJ001-0000' is \['a'\], not string"),
        ("source_rate", 22050.5, "source_rate of 'LJ001-0000' is 22050.5, not int32"),
        ("source_samples", 2**31, "source_samples of 'LJ001-0000' is 2147483648, not int32"),
        ("frames", None, "frames of 'LJ001-0000' is None, not int32"),
        ("bands", True, "bands of 'LJ001-0000' is True, not int32"),
        ("residual_mse", "0.5", "residual_mse of 'LJ001-0000' is '0.5', not double"),
        ("residual_frames", 0.5, "residual_frames of 'LJ001-0000' is 0.5, not int32"),
        ("mel_sha256", "", "LJ001-0000 is neither made, with a mel_sha256, nor failed"),
        ("mel_sha256", "A" * 64, "LJ001-0000 is neither made, with a mel_sha256, nor failed"),
        ("status", "failed", "LJ001-0000 is neither made, with a mel_sha256, nor failed"),
        ("key", "LJ001-0001", "it has the same key twice"),
        ("key", "../LJ001", "the sample '../LJ001' is invalid"),
        ("key", "k" * 93, "the sample 'k+' is invalid"),  # with .mel.npy, more than fits into a tar's header
        ("source_path", "a\x1b[31m.wav", "the sample 'LJ001-0000' is invalid"),
        ("extra", [], "the sample 'LJ001-0000' is invalid"),
    ],
)
def test_a_damaged_cell_is_refused_by_name(column: str, cell: object, message: str, tmp_path: Path) -> None:
    value = json.loads(write(tmp_path)[0].to_bytes())
    value["rows"][column][0] = cell
    with pytest.raises(ManifestError, match=message):
        Record.from_bytes(canonical_json(value), "record")


def test_the_longest_key_fits_into_a_tar_and_a_longer_one_does_not(tmp_path: Path) -> None:
    first, _ = write(tmp_path)
    key = "k" * MELS.longest_key
    record = replace(first, rows=(replace(first.rows[0], key=key), *first.rows[1:]))
    assert Record.from_bytes(record.to_bytes(), "record") == record
    TarWriter(io.BytesIO()).add(f"{key}.mel.npy", b"")
    with pytest.raises(ValueError, match="name is too long"):
        TarWriter(io.BytesIO()).add(f"{key}k.mel.npy", b"")


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for step in path[:-1]:
            value = value[step]
        del value[path[-1]]

    return change


def replaced(cell: object, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = cell

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("rows", "text"), "text"),
        (without("recipe", "config", "mel"), "config has no mel"),
        (without("recipe", "config", "mel", "hop"), "mel has no hop"),
        (replaced(-1, "recipe", "config", "mel", "bands"), "bands is -1"),
        (replaced("8k", "recipe", "config", "mel", "high"), "high is '8k'"),
        (without("recipe", "variant", "stft"), "variant has no stft"),
        (replaced("pil", "recipe", "variant", "decode"), "it has a variant of 3 stages"),
        (replaced("imagenet", "recipe", "config", "dataset"), "variant has no decode"),
    ],
)
def test_a_record_of_another_shape_is_refused(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    value = json.loads(write(tmp_path)[0].to_bytes())
    change(value)
    with pytest.raises(ManifestError, match=message):
        Record.from_bytes(canonical_json(value), "record")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("mel"), "it has no mel"),
        (without("mels_sha256"), "it has no mels_sha256"),
        (without("residual", "mse"), "residual has no mse"),
        (replaced(None, "residual", "mse"), "its parts contradict one another"),
        (replaced(0, "residual", "compared"), "its parts contradict one another"),
        (replaced(16000, "config", "mel", "rate"), "its parts contradict one another"),
    ],
)
def test_a_summary_of_another_shape_is_refused(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    write(tmp_path)
    value = json.loads((tmp_path / SUMMARY).read_bytes())
    change(value)
    with pytest.raises(ManifestError, match=message):
        parse_summary(json.dumps(value).encode(), SUMMARY)


def test_cells_that_pass_by_column_are_valid_by_row(tmp_path: Path) -> None:
    """Whatever replaces a cell; and an ordinary record passes, so the fast path is the one that is usually taken."""
    columns = write(tmp_path)[0].by_column
    assert are_plain(columns.cells, columns.schema, MELS)
    plain = 0
    for name in MELS.fields:
        for odd in [*HOSTILE, True, 2**31, 1.5, "a.b", "A" * 64, "\u0301" * 60]:
            cells = {**columns.cells, name: [columns.cells[name][0], copy.deepcopy(odd)]}
            if are_plain(cells, columns.schema, MELS):
                check_rows(MELS.rows(cells), MELS)
                plain += 1
    assert plain  # a hostile text is a valid transcript
