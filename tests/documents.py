"""The project's pages: README.md and docs/*.md, and the commands, code and tables in them."""

from __future__ import annotations

import argparse
import functools
import re
from pathlib import Path

import generate
import hub
import score
import verify
from tests import ROOT
from tests.conftest import Command, Once

README = "README.md"
PAGES = (README, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")))
# The options of timm's script, of huggingface_hub's, of Ray's and of Docker are not ours to check.
THEIRS = re.compile(r"^(python validate\.py|hf download|ray|docker) ")

Table = list[list[str]]


def read(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE)


def block(page: str, part: str) -> str:
    """The one Python block of a page that contains `part`."""
    (found,) = [code for code in blocks(page, "python") if part in code]
    return found


def commands(page: str) -> list[str]:
    """The lines that a page's reader types, without comments."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", "").splitlines()
    return [line for line in (line.partition("  #")[0].strip() for line in lines) if line]


def prose(page: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```\n", "", read(page), flags=re.DOTALL | re.MULTILINE)


def tables(page: str) -> list[Table]:
    """The tables of a page, as rows of cells, the head first and without the line below it."""
    found = re.findall(r"(?:^\|.*\n)+", prose(page), re.MULTILINE)
    rows = [[line for line in table.splitlines() if not re.fullmatch(r"[|:\- ]+", line)] for table in found]
    return [[cells(line) for line in table] for table in rows]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]


def table(page: str, *head: str) -> Table:
    """The rows of the one table of a page whose head begins with these cells, without the head."""
    (found,) = [rows[1:] for rows in tables(page) if tuple(rows[0][: len(head)]) == head]
    return found


@functools.cache
def parsers() -> dict[tuple[str, ...], argparse.ArgumentParser]:
    """The parser of each entry, and of each subcommand, by the words that begin its command lines."""
    (ours,) = (action.choices for action in hub._parser()._actions if isinstance(action.choices, dict))
    return {
        ("generate.py",): generate._parser(),
        ("verify.py",): verify._parser(),
        ("score.py",): score._parser(),
        ("score.py", "match"): score._parser("match"),
        ("score.py", "layers"): score._parser("layers"),
        ("score.py", "text"): score._parser("text"),
        ("score.py", "compare"): score._parser("compare"),
        **{("hub.py", name): parser for name, parser in ours.items()},
    }


def options() -> set[str]:
    """All options of all entries."""
    return {option for parser in parsers().values() for action in parser._actions for option in action.option_strings}


def parse(words: list[str]) -> argparse.Namespace:
    """What an entry makes of a command line, `generate.py --variant paper`; raises SystemExit for a bad one."""
    known = parsers()
    head = tuple(words[:2]) if tuple(words[:2]) in known else tuple(words[:1])
    return known[head].parse_args(words[len(head) :])


def made(once: Once, generate: Command) -> Path:
    """A folder with the set of `make sample`, three variants beside it, and in printed.txt what was printed."""

    def make(folder: Path) -> None:
        variants = "pil_lanczos,pil_bilinear,opencv_bilinear,ffmpeg"
        (folder / "printed.txt").write_text(generate("--variant", variants, cwd=folder).stdout)

    return once("documents", make)
