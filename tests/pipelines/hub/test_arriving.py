"""What is heard of a file while it arrives: its images in proportion to its bytes, and all of them in the end."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tqdm import tqdm

from pipelines.hub import arriving as arriving_module
from pipelines.hub.arriving import arriving


def test_images_are_told_of_while_bytes_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arriving_module, "_PAUSE", 0.001)
    heard = threading.Event()

    def fetch(bar: type[tqdm[Any]]) -> None:
        """As the client does where a part is here: two bars, of what is sent and of what is written."""
        with bar(total=1000, initial=100) as sent, bar(total=1000, initial=100) as written:
            sent.update(500)
            written.update(200)
            assert heard.wait(60)
            sent.update(1000)  # more than it has, as where it is sent again

    steps = arriving(fetch, 1000, 50)
    told = [next(steps)]
    while sum(told) < 30:
        told.append(next(steps))
    heard.set()
    assert sum(told) + sum(steps) == 50
    assert capsys.readouterr() == ("", "")


def test_what_goes_wrong_is_raised() -> None:
    def fetch(bar: type[tqdm[Any]]) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        list(arriving(fetch, 0, 50))
