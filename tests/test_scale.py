"""The sums in docs/scale.md follow from the figures there."""

from __future__ import annotations

import math
import re

import pytest

from manifests.schema import MOST_SHARDS
from pipelines.store import BLOCK
from tests import ROOT

TEXT = (ROOT / "docs" / "scale.md").read_text()
TABLES = [
    {
        cells[0]: cells[1:]
        for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:])
    }
    for table in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE)
]
PER_SHARD = 1000


def figure(table: int, name: str, column: int) -> float:
    return float(TABLES[table][name][column].replace(",", ""))


@pytest.mark.parametrize("column", [1, 2], ids=["imagenet", "laion"])
def test_the_sums_are_right(column: int) -> None:
    def unit(name: str) -> float:
        return figure(0, name, column)

    images, variants = figure(1, "images", column), unit("variants")
    rows, shards = images * variants, images * variants / PER_SHARD
    source = images * unit("a source image")
    expected = {
        "processor time": images * unit("processor time of an image") / 3.6e6,
        "shards": shards,
        "tars": rows * unit("tars, of an image and variant") / 1e9,
        "records and manifests": rows * unit("records and manifests, of an image and variant") / 1e9,
        "requests to write": shards * unit("requests to write a shard of 1000"),
        "requests to read": 2 * images if TABLES[1]["source"][column] == "files" else 2 * source / BLOCK,
        "the driver's planning": images * unit("the driver's planning, of an image") / 3.6e9,
        "the driver's finishing": rows * unit("the driver's finishing, of an image and variant") / 3.6e9,
        "the driver's file": images * unit("the driver's file while it plans, of an image") / 1e9,
    }
    assert expected.keys() == TABLES[1].keys() - {"images", "source"}
    for name, value in expected.items():
        said = TABLES[1][name][column]
        assert said == (f"{value:,.1f}" if "." in said else f"{value:,.0f}"), name


def test_what_follows_from_the_sums() -> None:
    hours, images = figure(1, "processor time", 2), figure(1, "images", 2)
    listed = images * figure(0, "a source image", 2)
    parts = math.ceil(images / (MOST_SHARDS * PER_SHARD))
    requests = figure(1, "requests to write", 2) + figure(1, "requests to read", 2)
    planning, finishing = (figure(1, f"the driver's {what}", 2) / parts for what in ("planning", "finishing"))
    listing = listed / 1e9 / 3600  # at 1 GB/s
    for said in (
        f"{listed / 1e12:.0f} TB through one machine",
        f"that is {listing:.0f} hours, more than {hours / listing:.0f} workers need",
        f"at most\n{MOST_SHARDS:,} shards",
        f"In {parts} parts",
        f"lists {listed / parts / 1e12:.1f} TB",
        f"plans for {planning:.1f} hours",
        f"finishes for\n{finishing:.1f} hours",
        f"with 1,000 workers the\nwork takes {hours / 1000:.1f} hours",
        f"asked {round(requests / (hours / 1000 * 3600), -2):,.0f} times a second",
    ):
        assert said in TEXT, said


def test_the_request_count_is_that_of_a_tar_and_a_record() -> None:
    """An upload's parts are of 10 MiB; tests/pipelines/generate/test_object_store.py counts them on a server."""
    parts = math.ceil(PER_SHARD * figure(0, "tars, of an image and variant", 1) / (10 * 2**20))
    assert figure(0, "requests to write a shard of 1000", 1) == (2 + parts) + (2 + 1 + 2)
