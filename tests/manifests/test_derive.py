"""Manifests derived by columns equal those derived row by row, and their sums are exact."""

from __future__ import annotations

import functools
import hashlib
import io
import math
import operator
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import derive as derived
from manifests.derive import Part, part_of, write_table
from manifests.images import COLUMNS, IMAGES, ImageRow
from manifests.plain import are_plain
from manifests.residuals import exact_sum, to_float
from manifests.schema import Columns, Recipe, Record
from manifests.schema.record import check_rows
from tests.fuzzing import HOSTILE, fuzz
from tests.rows import image_rows

RECIPE = Recipe(
    "pil_lanczos",
    {"decode": "pil", "resize": "pil_lanczos", "color": "none"},
    {
        **{"dataset": "imagenet", "geometry": "crop", "reference": "pil+pil_bilinear", "image_format": "png"},
        **{"size": [224], "samples_per_shard": 3, "source": {"kind": "tree", "samples": 9, "sha256": "0" * 64}},
    },
    {"libraries": {"pillow": "12"}, "cpu": {"architecture": "x86_64"}, "code_sha256": "0" * 64},
)

doubles = st.one_of(st.none(), st.floats(0, 255), st.sampled_from([0.0, 5e-324, 1e-300, 0.1, 2**52 + 1.0]))
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\"), max_size=5)
unnamed = st.builds(
    ImageRow,
    **dict.fromkeys(("key", "source_sha256", "error"), texts),
    shard=st.integers(0, 5),
    label=st.integers(-1, 999),
    source_path=texts,
    **dict.fromkeys(("source_width", "source_height", "width", "height", "crop_x"), st.integers(0, 2**31 - 1)),
    source_orientation=st.integers(1, 8),
    extra=st.dictionaries(texts, st.one_of(st.integers(-9, 9), texts), max_size=2),
    status=st.sampled_from(["ok", "failed"]),
    pixel_sha256=st.integers(0, 9).map(lambda n: hashlib.sha256(bytes([n])).hexdigest()),
    residual_mean_abs=doubles,
    residual_max_abs=st.one_of(st.none(), st.integers(0, 255)),
    residual_changed=doubles,
    scale_x=st.one_of(st.integers(0, 3), st.floats(0, 9)),
)


@st.composite
def variants(draw: st.DrawFn) -> list[Record]:
    """The records of a variant, with any number of rows, some failed, some from before there was a profile column."""
    counts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    records, number = [], 0
    for shard, count in enumerate(counts):
        old = draw(st.booleans())
        rows = []
        for row in draw(st.lists(unnamed, min_size=count, max_size=count)):
            number += 1
            digest = row.pixel_sha256 if row.status == "ok" else ""
            key = row.key.translate({ord("/"): "_", ord("."): "_"}) + str(number)
            rows.append(replace(row, key=key, pixel_sha256=digest, source_profile=None if old else draw(texts)))
        records.append(Record(shard, len(counts), 10 * count, "1" * 64, RECIPE, tuple(rows)))
    return records


def row_by_row(records: Sequence[Record]) -> tuple[bytes, dict[str, Any]]:
    """The table, and the summary's pixels and residuals, computed in the plainest way."""
    old = all(row.source_profile is None for row in image_rows(records[0]))
    columns = IMAGES.first_columns if old else COLUMNS
    file = io.BytesIO()
    with pq.ParquetWriter(file, columns, compression="zstd") as writer:
        for record in records:
            cells = {name: [getattr(row, name) for row in record.rows] for name in columns.names}
            writer.write_table(pa.table(cells, schema=columns), row_group_size=max(1, len(record.rows)))
    rows = [row for record in records for row in image_rows(record)]
    made = sum(row.status == "ok" for row in rows)
    figures = [(row.residual_mean_abs, row.residual_max_abs, row.residual_changed) for row in rows]
    full = [(mean, peak, share) for mean, peak, share in figures if None not in (mean, peak, share)]
    means, peaks, shares = zip(*full, strict=True) if full else ((), (), ())
    return file.getvalue(), {
        "pixels_sha256": hashlib.sha256(
            "".join(f"{row.key} {row.pixel_sha256}\n" for row in rows).encode()
        ).hexdigest(),
        "residual": {
            "compared": len(full),
            "mean_abs": math.fsum(means) / len(full) if full else None,
            "max_abs": max(peaks) if full else None,
            "changed": math.fsum(shares) / len(full) if full else None,
            "degenerate": peaks.count(0) == made if made else None,
        },
        "totals": {"samples": made, "failed": len(rows) - made, "bytes": sum(record.tar_bytes for record in records)},
    }


@fuzz(60)
@given(variants())
def test_deriving_by_columns_equals_deriving_row_by_row(records: list[Record]) -> None:
    """Including a round trip through the files' bytes."""
    read = [Columns.from_bytes(record.to_bytes(), "record") for record in records]
    assert [record.rows for record in read] == [record.rows for record in records]
    file = io.BytesIO()
    summary = write_table(map(part_of, read), file)
    table, expected = row_by_row(records)
    assert {name: summary[name] for name in expected} == expected
    assert file.getvalue() == table
    assert [shard["record_sha256"] for shard in summary["shards"]] == [record.sha256 for record in records]


@fuzz(100)
@given(variants(), st.data())
def test_cells_that_pass_by_column_are_valid_by_row(records: list[Record], data: st.DataObject) -> None:
    """Whatever replaces a cell."""
    cells = {name: list(column) for name, column in records[0].by_column.cells.items()}
    if records[0].rows:
        odd = st.sampled_from(
            [*HOSTILE, None, True, 2**31, 1.5, -1, "a.b", "A" * 64, "ok", "", {}, "\u0301" * 60, "a\\"]
        )
        data.draw(st.sampled_from(sorted(cells.items())))[1][-1] = data.draw(odd)
    found = replace(records[0].by_column, cells=cells)
    if are_plain(cells, found.schema, IMAGES):
        check_rows(found.rows, IMAGES)


def test_ordinary_rows_are_plain() -> None:
    """The fast path is the one that is usually taken."""
    row = ImageRow(
        key="a",
        shard=0,
        label=3,
        source_path="n/a b.jpg",
        source_sha256="0" * 64,
        source_width=5,
        source_height=5,
        source_orientation=1,
        width=2,
        height=2,
        pixel_sha256="f" * 64,
        residual_mean_abs=0.5,
        residual_max_abs=3,
        residual_changed=1,
        scale_x=1.0,
        scale_y=1,
        extra={"id": 1},
    )
    rows = (row, replace(row, key="b", status="failed", pixel_sha256="", residual_changed=None))
    cells = Record(0, 1, 0, "0" * 64, RECIPE, rows).by_column.cells
    assert are_plain(cells, IMAGES.first_columns, IMAGES)
    assert not are_plain({**cells, "key": ["a", "a"]}, IMAGES.first_columns, IMAGES)


def test_very_many_shards_share_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "_MOST_GROUPS", 3)
    monkeypatch.setattr(derived, "MOST_ROWS", 5)
    failed = ImageRow(
        key="",
        shard=0,
        label=0,
        source_path="",
        source_sha256="",
        source_width=0,
        source_height=0,
        source_orientation=1,
        status="failed",
        extra={},
    )

    def groups(sizes: Sequence[int]) -> list[int]:
        def parts(number: int, size: int) -> Part:
            rows = [replace(failed, key=f"{number}-{n}", shard=number) for n in range(size)]
            return part_of(Record(number, len(sizes), 0, "0" * 64, RECIPE, tuple(rows)).by_column)

        file = io.BytesIO()
        write_table((parts(number, size) for number, size in enumerate(sizes)), file)
        about = pq.read_metadata(file)
        keys = pq.read_table(file)["key"].to_pylist()
        assert keys == [f"{number}-{n}" for number, size in enumerate(sizes) for n in range(size)]
        return [about.row_group(group).num_rows for group in range(about.num_row_groups)]

    assert groups([2, 2, 1]) == [2, 2, 1]
    assert groups([2, 2, 2, 1]) == [4, 3]
    assert groups([4, 4, 1, 4]) == [4, 5, 4]


@given(st.lists(st.floats(-1e300, 1e300)), st.lists(st.floats(-1e300, 1e300)))
def test_sums_of_parts_add_up_to_the_sum_of_all_values(values: list[float], more: list[float]) -> None:
    assert to_float(exact_sum(values) + exact_sum(more)).hex() == math.fsum([*values, *more]).hex()


def test_a_sum_of_many_values() -> None:
    chance = random.Random(3)
    values = [chance.random() * 10.0 ** chance.randrange(-30, 3) for _ in range(50_000)]
    one_by_one = functools.reduce(operator.add, values)  # Python's own sum compensates from 3.12 on
    assert to_float(exact_sum(values)) == math.fsum(values) != one_by_one
    assert to_float(exact_sum([2.0 - 2**-52] * 100_000)) == math.fsum([2.0 - 2**-52] * 100_000)
