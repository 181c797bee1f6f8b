"""docs/helps.md: its code runs, and its tables have a row and a column for each method, with sums that agree."""

from __future__ import annotations

import re
import statistics

import pytest

from generators.registry import METHODS
from pipelines.evaluate.statistics import paired_proportions
from tests.documents import block, read, tables

PAGE = "docs/helps.md"
TEXT = read(PAGE)
TRAINED = [rows for rows in tables(PAGE) if rows[0][0] == "trained with"]
RESIZES = [f"{library}_{name}" for library in ("pil", "opencv") for name in ("nearest", "bilinear", "bicubic")]


def test_the_code_runs(photographs: dict[str, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    exec(block(PAGE, "Mix("), {"data": photographs["chelsea"]})
    assert re.fullmatch(r"Drawn\(decode='\w+', resize='\w+'\) \(224, 224, 3\)\n", capsys.readouterr().out)


@pytest.mark.parametrize("table", TRAINED, ids=lambda table: f"{len(table) - 1} rows")
def test_tables_have_every_method_twice(table: list[list[str]]) -> None:
    (_, *tokens, mean, std), *rows = [[cell.strip("`").replace("<br>", "_") for cell in row] for row in table]
    assert (mean, std) == ("mean", "std")
    assert tokens in (RESIZES, ["pil", "ffmpeg"])
    assert set(tokens) <= set(METHODS)
    assert [row[0] for row in rows] == [*tokens, "mix"]
    for row in rows:
        *scores, average, spread = map(float, row[1:])
        assert average == pytest.approx(statistics.mean(scores), abs=0.11)
        assert 0 <= spread < 50


def test_there_are_tables_of_both_stages() -> None:
    assert {len(table) for table in TRAINED} == {4, 8}


def test_what_a_codec_costs_follows_from_images_lost_and_gained() -> None:
    ((_, *rows),) = [rows for rows in tables(PAGE) if rows[0][0] == "decoder"]
    (images,) = set(re.findall(r"On the same (\d+) images", TEXT))
    for cell in (cell for row in rows for cell in row[2:]):
        *stated, lost, gained = re.findall(r"−?\d+(?:\.\d+)?", cell)
        found = paired_proportions(int(lost), int(gained), int(images))
        assert stated == [f"{100 * value:.2f}".replace("-", "−") for value in found[:3]], cell
