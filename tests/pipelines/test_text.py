"""What is shown cannot steer a terminal, wherever its text comes from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.verify import Problem
from pipelines.check import show
from pipelines.command import exit_status
from pipelines.errors import SysNoiseError, UsageError
from pipelines.progress import say
from pipelines.text import first_line, one_line, printable

HOSTILE = "a\x1b]0;owned\x07\x1b[2Jb\r\x9b31mc\u202ed\u2028e"


@given(st.text())
def test_lines_are_kept_and_nothing_else_is_obeyed(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert shown.count("\n") == text.count("\n")
    assert shown.replace("\n", "").isprintable()
    assert printable(shown) == shown


@given(st.text())
def test_a_line_is_one(text: str) -> None:
    for line in (one_line(text), first_line(ValueError(text)), str(SysNoiseError(text))):
        assert line.isprintable()
    assert first_line(ValueError(text))


def test_what_people_write_is_shown_as_it_is() -> None:
    for text in ("--size 224 × 0.5 → é", "日本語/ファイル.png", "─" * 30, "|Δ| 1.2 ± 3"):
        assert printable(text) == one_line(text) == text
    assert len(one_line("x" * 10**6)) < 3000


def refuse() -> int:
    raise UsageError(f"{HOSTILE}: give another")


def break_down() -> int:
    raise RuntimeError(HOSTILE)


def lose() -> int:
    raise FileNotFoundError(2, "No such file", HOSTILE)


def tell() -> int:
    print(HOSTILE)
    show([Problem(HOSTILE, HOSTILE)])
    say(HOSTILE)
    return 0


@pytest.mark.parametrize("work", [refuse, break_down, lose, tell])
def test_nothing_that_a_command_prints_steers_a_terminal(
    work: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(work)
    monkeypatch.setattr("os.dup2", lambda *_: None)  # which a lost file is answered with
    status = exit_status("hub.py", work)
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert text.replace("\n", "").isprintable()
    assert "owned" in shown.out + shown.err
    assert len(shown.err.splitlines()) == 1
    assert (status == 0) == (work is tell)
