"""No output contains terminal control characters, wherever its text comes from."""

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
def test_control_characters_other_than_line_breaks_are_replaced(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert shown.count("\n") == text.count("\n")
    assert shown.replace("\n", "").isprintable()
    assert printable(shown) == shown


@given(st.text())
def test_one_line_stays_one_line(text: str) -> None:
    for line in (one_line(text), first_line(ValueError(text)), str(SysNoiseError(text))):
        assert line.isprintable()
    assert first_line(ValueError(text))


def test_ordinary_text_is_unchanged() -> None:
    for text in ("--size 224 × 0.5 → é", "日本語/ファイル.png", "─" * 30, "|Δ| 1.2 ± 3"):
        assert printable(text) == one_line(text) == text
    assert len(one_line("x" * 10**6)) < 3000


def refuse() -> int:
    raise UsageError(f"{HOSTILE}: give another")


def break_down() -> int:
    raise RuntimeError(HOSTILE)


def lose() -> int:
    raise FileNotFoundError(2, "No such file", HOSTILE)


def succeed() -> int:
    print(HOSTILE)
    show([Problem(HOSTILE, HOSTILE)])
    say(HOSTILE)
    return 0


@pytest.mark.parametrize("work", [refuse, break_down, lose, succeed])
def test_a_command_prints_no_control_characters(
    work: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(work)
    monkeypatch.setattr("os.dup2", lambda *_: None)  # exit_status calls it for a missing file
    status = exit_status("hub.py", work)
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert text.replace("\n", "").isprintable()
    assert "owned" in shown.out + shown.err
    assert len(shown.err.splitlines()) == 1
    assert (status == 0) == (work is succeed)
