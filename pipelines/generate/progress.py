"""What a run says while it works, on stderr: results alone go to stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tqdm import tqdm

from pipelines.progress import TICK, say

if TYPE_CHECKING:  # which imports Ray, and is not needed to say that nothing is left to do
    from pipelines.engine import Finished
    from pipelines.generate.shard import Task


def follow(results: Iterable[Finished[Task, int] | None], total: int) -> None:
    """Show progress while shards are finished: a bar on a terminal, a line every few seconds otherwise."""
    began = last = time.monotonic()
    made = failed = 0
    with tqdm(total=total, unit="img", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
        for result in results:
            if result is not None:
                made += len(result.piece.samples)
                failed += result.result
                bar.update(len(result.piece.samples))
                if failed:
                    bar.set_postfix(failed=failed)
            now = time.monotonic()
            if bar.disable and (now - last >= TICK or made == total):
                say(f"{made:,} of {total:,} images, {failed:,} failed, {now - began:.0f} s")
                last = now
