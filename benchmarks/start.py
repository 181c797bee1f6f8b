"""How long generate.py takes to its first image, and to its end, if there is little to make.

    python -m benchmarks.start [--rounds N] [--beside CHECKOUT]

Seconds from the command to the first shard, of one built-in photograph, and to the exit: medians over rounds. Another
checkout can take turns with this one: the median of the rounds' ratios is meaningful even on a busy machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.running import ROOT, temporary
from pipelines.text import table

_PAUSE = 0.005  # seconds between two looks at the output
_WORDS = ("--variant", "pil_lanczos", "--samples-per-shard", "1")


class Times(NamedTuple):
    """Seconds from the command."""

    first: float
    end: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="The time to the first image.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beside", type=Path, help="another checkout")
    given = parser.parse_args()
    checkouts = [ROOT, *([given.beside] if given.beside else [])]
    rounds = [[run(checkout) for checkout in checkouts] for _ in range(given.rounds)]
    rows: list[tuple[str, ...]] = [("checkout", "first image, s", "exit, s")]
    for checkout, times in zip(checkouts, zip(*rounds, strict=True), strict=True):
        rows.append((str(checkout), *_medians(times)))
    if given.beside:
        ratios = [Times(ours.first / theirs.first, ours.end / theirs.end) for ours, theirs in rounds]
        rows.append(("ratio", *_medians(ratios)))
    print(table(rows, right=frozenset({1, 2})))


def _medians(times: Sequence[Times]) -> list[str]:
    return [f"{statistics.median(values):.2f}" for values in zip(*times, strict=True)]


def run(checkout: Path) -> Times:
    """Run a checkout's generate.py on the built-in photographs, with a shard for each."""
    with temporary() as folder:
        began = time.monotonic()
        words = [sys.executable, "generate.py", *_WORDS, "--output", folder]
        process = subprocess.Popen(words, cwd=checkout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(Path(folder).rglob("*.tar")):
            time.sleep(_PAUSE)
        first = time.monotonic() - began
        if process.wait():
            sys.exit(f"generate.py in {checkout} ended with {process.returncode}")
        return Times(first, time.monotonic() - began)


if __name__ == "__main__":
    main()
