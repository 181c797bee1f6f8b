"""`make commands` leaves out no more of the pages' commands than it says, and knows what they take as given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import commands as runner
from tests.commands import LEFT_OUT, TOGETHER, left_out, stories
from tests.documents import PAGES, commands
from tests.given import Given

# Options whose `/data/…` a command writes; with `--source`, missing shards too. Later commands can use them.
WRITES = ("output", "publish")


def run_of(story: list[str]) -> Iterator[str]:
    yield from (line for page in story for line in commands(page) if not left_out(line))


def test_every_page_is_run_once() -> None:
    found = [page for story in stories(PAGES) for page in story]
    assert sorted(found) == sorted(PAGES)
    assert next(stories(PAGES)) == list(TOGETHER)


def test_what_is_left_out_is_in_a_page() -> None:
    lines = [line for page in PAGES for line in commands(page)]
    assert not [part for part in LEFT_OUT if not any(part in line for line in lines)]


@pytest.mark.parametrize("story", list(stories(PAGES)), ids=lambda story: Path(story[0]).stem)
def test_every_input_is_given_or_made_before(story: list[str], tmp_path: Path) -> None:
    given = Given(tmp_path, tmp_path, lambda _: None).makers
    written: set[str] = set()
    for line in run_of(story):
        options = "|".join((*WRITES, "shards") if "--source" in line else WRITES)
        outputs = re.findall(rf"--(?:{options}) (/data/\S+)", line)
        inputs = set(re.findall(r"/data/[^\s\"]+", line)) - set(outputs)
        below = {f"/data/{name}" for name in given} | written
        missing = [name for name in inputs if not any(name == one or name.startswith(f"{one}/") for one in below)]
        assert not missing, line
        written |= set(outputs)


def test_commands_run_below_links_to_the_checkout(tmp_path: Path) -> None:
    checkout = runner.Checkout(tmp_path, tmp_path, {"PATH": "/usr/bin:/bin"})
    done = checkout.run(".venv/bin/python generate.py --list-variants >/data/listed && test -d tests && ls /data/")
    assert (done.returncode, done.stdout) == (0, "listed\n")
    assert "pil_lanczos" in (tmp_path / "data" / "listed").read_text()
    assert checkout.run("exit 3").returncode == 3
