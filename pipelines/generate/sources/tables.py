"""Finds the columns of names and labels in files separated by commas, semicolons or tabs.

It goes by the header if there is one, and else by the columns' contents. A label's cell may continue with boxes, as in
Kaggle's `LOC_val_solution.csv` (`n03425413 85 1 499 272 …`): its first word counts, and a coordinate is never a label.
Refuses columns of numbers that cannot be told apart.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipelines.generate.sources.base import IMAGE_SUFFIXES

_DELIMITERS = ",;\t"
# Headers, in lower case and reduced to letters.
_NAMES = re.compile(r"(file|image|img)(id|name|names|path|paths|s)?|fname|id|key|name|path")
_LABELS = re.compile(
    r"(category|class|label|synset)(id|idx|index|label|s)?|cls|groundtruth|gt|predictionstring|target|wnid|wordnetid|y"
)
# The first line of a pandas series.
_SERIES = ["", "0"]
# Words for a box and its label in Kaggle's `PredictionString`.
BOXED = 5


class Entry(NamedTuple):
    """A line of a list: its number, and its name and label as written."""

    line: int
    name: str
    label: str


Test = Callable[[str], bool]


class _Row(NamedTuple):
    line: int
    cells: list[str]


def read_table(lines: Sequence[str], is_synset: Test, is_number: Test) -> list[Entry]:
    """The entries of a delimited list; none if the lines are not one.

    `is_synset` and `is_number` recognise labels. Raises ValueError if it is ambiguous which column has the labels, and
    for a line without one.
    """

    def is_label(cell: str) -> bool:
        first, *boxes = cell.split() or [""]
        return is_synset(first) or (is_number(first) and (not boxes or len(boxes) % BOXED == BOXED - 1))

    for delimiter in _DELIMITERS:
        if 2 * sum(delimiter in line for line in lines) <= sum(map(bool, lines)):
            continue
        rows = _rows(lines, delimiter)
        width = min((len(row.cells) for row in rows if len(row.cells) > 1), default=0)
        if width == 0:
            continue
        header, body = _header_and_body(rows, is_label)
        valid = Counter(at for row in body for at, cell in enumerate(row.cells[:width]) if is_label(cell))
        fit = [at for at in range(width) if 2 * valid[at] > len(body)]
        if fit == [0] and not header and is_label((body[0].cells[1].split() or [""])[-1]):
            continue  # a list of words in which a name has a comma: `1,2.JPEG 65`
        if fit:
            synsets = [at for at in fit if any(is_synset(word) for word in _at(body[0].cells, at).split())]
            label = _label_column(header, fit, synsets, width)
            name = _name_column(header, body[0].cells, label, width)
            return [_entry(row, name, label, is_label) for row in body]
    return []


def _rows(lines: Sequence[str], delimiter: str) -> list[_Row]:
    """The rows that are not blank; none if the lines cannot be parsed."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [_Row(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error:
        return []
    return [row for row in rows if any(row.cells)]


def _header_and_body(rows: Sequence[_Row], is_label: Test) -> tuple[list[str], Sequence[_Row]]:
    """The column names in the first row, in lower case and reduced to letters, if it has any; and the other rows."""
    cells = rows[0].cells
    if cells == _SERIES:
        return cells, rows[1:]
    numbered = [re.search(r"\d", cell) is not None for cell in cells]
    names = ["" if digits else re.sub("[^a-z]", "", cell.lower()) for cell, digits in zip(cells, numbered, strict=True)]
    usual = any(_NAMES.fullmatch(name) or _LABELS.fullmatch(name) for name in names)
    of_image = any(numbered) or any(cell.lower().endswith(IMAGE_SUFFIXES) for cell in cells)
    if any(is_label(cell) or cell.isdecimal() for cell in cells) or (of_image and not usual):
        return [], rows
    return names, rows[1:]


def _label_column(header: Sequence[str], fit: Sequence[int], synsets: Sequence[int], width: int) -> int:
    """The column of labels among those that fit. Raises ValueError if that is ambiguous, or if there is none."""
    called = [at for at in fit if _LABELS.fullmatch(_at(header, at))]
    if not called and width == 2:
        return fit[-1]
    among = called or synsets or ([] if header else fit)
    if len(among) > 1:
        among = [at for at in among if at in synsets][:1]
    if not among:
        raise ValueError(
            "several columns of numbers could be labels: add a first line that names the columns `name` and `label`"
        )
    return among[0]


def _name_column(header: Sequence[str], first: Sequence[str], label: int, width: int) -> int:
    """The column of names: by its header, or else the first. Of several, one with an image's file name is preferred."""
    others = [at for at in range(width) if at != label]
    called = [at for at in others if _NAMES.fullmatch(_at(header, at))]
    files = [at for at in called or others if _at(first, at).lower().endswith(IMAGE_SUFFIXES)]
    return (files or called or others)[0]


def _entry(row: _Row, name: int, label: int, is_label: Test) -> Entry:
    """The row as an entry. Raises ValueError if it has no name or no label."""
    if max(name, label) >= len(row.cells) or not row.cells[name]:
        raise ValueError(f"line {row.line}: expected a name and a label, found {' '.join(row.cells)!r}")
    cell = row.cells[label]
    return Entry(row.line, row.cells[name], cell.split()[0] if is_label(cell) else cell)


def _at(cells: Sequence[str], at: int) -> str:
    """A cell; empty if the row is too short."""
    return cells[at] if at < len(cells) else ""
