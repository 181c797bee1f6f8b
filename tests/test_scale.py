"""The sums in docs/scale.md follow from its figures."""

from __future__ import annotations

import math
import re

import pytest

from manifests.derive import _MOST_GROUPS
from manifests.schema import MOST_SHARDS
from pipelines.generate.spread import _MOST_WAITING
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


# The column of each set's unit costs in the first table.
UNITS = {1: 1, 2: 2, 3: 2}


@pytest.mark.parametrize("column", UNITS, ids=["imagenet", "one run", "laion"])
def test_the_sums_are_right(column: int) -> None:
    def unit(name: str) -> float:
        return figure(0, name, UNITS[column])

    images, variants = figure(1, "images", column), unit("variants")
    rows, shards = images * variants, images * variants / PER_SHARD
    source = images * unit("a source image")
    packed = images * (TABLES[1]["source"][column] != "files")
    expected = {
        "processor time": images * unit("processor time of an image") / 3.6e6,
        "shards": shards,
        "tars": rows * unit("tars, of an image and variant") / 1e9,
        "records and manifests": rows * unit("records and manifests, of an image and variant") / 1e9,
        "requests to write": shards * unit("requests to write a shard of 1000"),
        "requests to read": 2 * source / BLOCK if packed else 2 * images,
        "the driver's listing": packed * unit("the driver's listing, of an image in tars") / 6e7,
        "the workers' listing": packed * unit("the workers' listing, of an image in tars") / 3.6e9,
        "the driver's planning": images * unit("the driver's planning, of an image") / 6e7,
        "the driver's finishing": rows * unit("the driver's finishing, of an image and variant") / 6e7,
        "the workers' finishing": rows * unit("the workers' finishing, of an image and variant") / 3.6e9,
        "the driver's file": images * unit("the driver's file while it plans, of an image") / 1e9,
        "listings that are kept": packed * unit("a tar's listing that is kept, of an image") / 1e9,
    }
    assert expected.keys() == TABLES[1].keys() - {"images", "source"}
    for name, value in expected.items():
        written = TABLES[1][name][column]
        assert written == (f"{value:,.1f}" if "." in written else f"{value:,.0f}"), name


def test_the_text_follows_from_the_sums() -> None:
    hours, images = figure(1, "processor time", 3), figure(1, "images", 3)
    one_run = MOST_SHARDS * PER_SHARD
    assert figure(1, "images", 2) == one_run
    listed = one_run * figure(0, "a source image", 2)
    requests = figure(1, "requests to write", 3) + figure(1, "requests to read", 3)
    steps = [
        one_run * figure(0, f"the driver's {step}", 2) / 6e7
        for step in ("listing, of an image in tars", "planning, of an image", "finishing, of an image and variant")
    ]
    assert sum(steps) < 60
    alone = steps[-1] + one_run * figure(0, "the workers' finishing, of an image and variant", 2) / 6e7
    text = " ".join(TEXT.split())
    for said in (
        f"since one variant has at most {MOST_SHARDS:,} shards: the driver is at work for {sum(steps):.0f} minutes",
        f"{listed / 1e12:.1f} TB, by the workers",
        f"16 of them take {listed / 16e9 / 60:.0f} minutes",
        f"{figure(1, 'listings that are kept', 2)} GB on the driver's machine",
        f"up to {_MOST_WAITING / 2**20:.0f} MiB of results that came before their turn",
        f"of which there are at most {_MOST_GROUPS:,}",
        f"it does both: {alone:.0f} minutes",
        f"In {math.ceil(images / one_run)} parts of {one_run:,} images",
        f"with 1,000 workers the work takes {hours / 1000:.1f} hours",
        f"asked {round(requests / (hours / 1000 * 3600), -2):,.0f} times a second",
    ):
        assert said in text, said


def test_the_request_count_is_that_of_a_tar_and_a_record() -> None:
    """An upload's parts have 10 MiB; tests/pipelines/generate/test_object_store.py counts them on a server."""
    parts = math.ceil(PER_SHARD * figure(0, "tars, of an image and variant", 1) / (10 * 2**20))
    assert figure(0, "requests to write a shard of 1000", 1) == (2 + parts) + (2 + 1 + 2)
