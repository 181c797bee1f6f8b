"""What long work says of itself, on stderr: results alone go to stdout."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from pipelines.text import printable

# Seconds between lines where there is no terminal.
TICK = 5.0

# Told what is being worked on, and how much more of it is done.
Advance = Callable[[str, int], None]


def say(text: str) -> None:
    """A line for the user."""
    tqdm.write(printable(text), file=sys.stderr)  # which keeps clear of a bar
    sys.stderr.flush()


@contextlib.contextmanager
def counted(total: int, unit: str, done_text: str) -> Iterator[Advance]:
    """Show how much of `total` is done: a bar on a terminal, a line every few seconds (`3 of 9 images predicted`)
    otherwise.
    """
    began = last = time.monotonic()
    done = 0
    with tqdm(total=total, unit=unit, disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:

        def advance(what: str, more: int) -> None:
            nonlocal done, last
            done += more
            bar.set_description(what, refresh=False)
            bar.update(more)
            now = time.monotonic()
            if bar.disable and (now - last >= TICK or done == total):
                say(f"{done:,} of {total:,} {done_text}, {now - began:.0f} s")
                last = now

        yield advance
