"""Plain text for people: tables, sizes, durations, commands as they would type them, and errors in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

# The most characters of a reason, and of a line that may name paths as well.
_LONGEST, _LONGEST_LINE = 300, 2000


def table(rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset()) -> str:
    """Rows (the first is the header) as text columns; the columns in `right` are right-aligned."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["─" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def number_of(count: int, noun: str) -> str:
    """A count with its noun: `1 shard`, `1,234 shards`."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def size(count: int) -> str:
    """A number of bytes for people: `1.6 MB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def duration(seconds: float) -> str:
    """A time for people, in at most two units: `9 s`, `2 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def printable(text: str) -> str:
    """The text with terminal control characters replaced; line breaks are kept."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def one_line(text: str) -> str:
    """The text in one printable line, cut if it is longer than a person would read."""
    line = printable(" ".join(text.splitlines()))
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"


def first_line(error: Exception) -> str:
    """The first line of an error's message, printable; the error's type if it has no message."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return printable(line)[:_LONGEST]


def entry(script: str) -> str:
    """The command for an entry, as typed from the current folder."""
    entry = Path(sys.argv[0]).absolute().with_name(script)
    return f"{_short(Path(sys.executable))} {_short(entry)}"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
