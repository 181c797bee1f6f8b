"""Progress and notes for the user, on stderr: stdout is for results only."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from pipelines.text import duration, printable, size

# Seconds between lines of progress if stderr is not a terminal.
TICK = 5.0

# Called with a note on the current work, and how much more of it is done.
Advance = Callable[[str, int], None]


def say(text: str) -> None:
    """Print a line for the user."""
    tqdm.write(printable(text), file=sys.stderr)  # without breaking a progress bar
    sys.stderr.flush()


@contextlib.contextmanager
def counted(total: int | None, unit: str, done_text: str) -> Iterator[Advance]:
    """Show how much of `total` is done, how fast, and how long the rest will take.

    That is a bar on a terminal, and otherwise a line every few seconds (`3 of 9 images predicted, 1.5 img/s, 4 s
    left`). None means that the total is unknown.
    """
    began = last = time.monotonic()
    done = 0
    with tqdm(
        total=total, unit=f" {unit}", unit_scale=unit == "B", disable=not sys.stderr.isatty(), dynamic_ncols=True
    ) as bar:

        def advance(what: str, more: int) -> None:
            nonlocal done, last
            done += more
            bar.set_description(what, refresh=False)
            bar.update(more)
            now = time.monotonic()
            if bar.disable and (now - last >= TICK or (done == total and more)):
                of = "" if total is None else f" of {total:,}"
                note = f" ({what})" if what else ""
                say(f"{done:,}{of} {done_text}{note}{_pace(done, total, now - began, unit)}")
                last = now

        yield advance


def _pace(done: int, total: int | None, seconds: float, unit: str) -> str:
    """The rate so far, and how long the rest will take at that rate."""
    if not done:
        return f", {duration(seconds)} so far"
    rate = done / seconds
    fast = f"{size(int(rate))}/s" if unit == "B" else f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s"
    left = "" if total is None or done >= total else f"{duration((total - done) / rate)} left"
    return f", {fast}, {left or duration(seconds)}"
