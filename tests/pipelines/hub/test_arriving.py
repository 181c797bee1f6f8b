"""Progress of a download: images in proportion to bytes, and all of them at the end."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tqdm import tqdm

from pipelines.hub import arriving as arriving_module
from pipelines.hub.arriving import arriving


def test_images_are_reported_while_bytes_arrive(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(arriving_module, "_PAUSE", 0.001)
    heard = threading.Event()

    def fetch(bar: type[tqdm[Any]]) -> None:
        """Like the client when it continues a download: one bar for the transfer and one for the disk."""
        with bar(total=1000, initial=100) as sent, bar(total=1000, initial=100) as written:
            sent.update(500)
            written.update(200)
            assert heard.wait(60)
            sent.update(1000)  # more than the file has, as after a retry

    steps = arriving(fetch, 1000, 50)
    reported = [next(steps)]
    while sum(reported) < 30:
        reported.append(next(steps))
    heard.set()
    assert sum(reported) + sum(steps) == 50
    assert capsys.readouterr() == ("", "")


def test_an_error_is_raised() -> None:
    def fetch(bar: type[tqdm[Any]]) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        list(arriving(fetch, 0, 50))
