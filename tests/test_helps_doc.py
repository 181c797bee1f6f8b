"""docs/helps.md: its code runs, and its tables have a row and a column for each method, with sums that agree."""

from __future__ import annotations

import re
import statistics

import pytest

from generators.registry import METHODS
from tests import ROOT

TEXT = (ROOT / "docs" / "helps.md").read_text()
RESIZES = [f"{library}_{name}" for library in ("pil", "opencv") for name in ("nearest", "bilinear", "bicubic")]


def test_the_code_runs(photographs: dict[str, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    exec(block, {"data": photographs["chelsea"]})
    assert re.fullmatch(r"Drawn\(decode='\w+', resize='\w+'\) \(224, 224, 3\)\n", capsys.readouterr().out)


def tables() -> list[list[list[str]]]:
    """Of mix training: rows of cells, the head first."""
    found = re.findall(r"^\| trained with .*?(?=\n\n)", TEXT, re.DOTALL | re.MULTILINE)
    rows = [[line for line in table.splitlines() if not line.startswith("| ---")] for table in found]
    return [[[cell.strip(" `*") for cell in line.strip("|").split("|")] for line in table] for table in rows]


@pytest.mark.parametrize("table", tables(), ids=lambda table: f"{len(table) - 1} rows")
def test_tables_have_every_method_twice(table: list[list[str]]) -> None:
    (_, *tokens, mean, std), *rows = table
    assert (mean, std) == ("mean", "std")
    assert tokens in (RESIZES, ["pil", "ffmpeg"])
    assert set(tokens) <= set(METHODS)
    assert [row[0] for row in rows] == [*tokens, "mix"]
    for row in rows:
        *scores, average, spread = map(float, row[1:])
        assert average == pytest.approx(statistics.mean(scores), abs=0.11)
        assert 0 <= spread < 50


def test_there_are_tables_of_both_stages() -> None:
    assert {len(table) for table in tables()} == {4, 8}
