"""Every benchmark of speed, and at the end one table: the aims, and what was found.

    python -m benchmarks [--source TREE] [--coco FOLDER]

What is left out for want of a program says so. Ends with status 0 whatever the figures are.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import codec, foreign, infer, libraries, limit, memory, mix, read, running, scale, shared, stages, today
from pipelines.text import table


def main() -> None:
    """Run them one after the other."""
    parser = running.parser("All benchmarks of speed.")
    parser.add_argument("--coco", type=Path, help="a folder of COCO's images")
    given = parser.parse_args()
    images = running.photographs(given.source)
    began = time.monotonic()
    found = []
    _say("The least that the libraries cost")
    found += limit.measure(images)
    _say("Beside today's ways")
    found += today.measure(images, today.IMG2DATASET)
    _say("Scale")
    found += scale.measure(images, given.coco)
    _say("Memory of a worker")
    memory.measure(images)
    _say("Where a worker's time goes")
    stages.measure(images)
    _say("Work that is shared")
    shared.measure(images)
    _say("Formats")
    codec.measure(images)
    _say("Reading")
    found += read.measure(images)
    _say("Another version of a library")
    found += foreign.measure(images)
    _say("Libraries in environments of their own")
    found += libraries.measure(images)
    _say("Mix training")
    found += mix.measure(images)
    _say("Models over shards")
    found += infer.measure(images)
    _say(f"Aims ({len(images)} images, {time.monotonic() - began:.0f} s)")
    print(table([("what", "aim", "found", "reached"), *(figure.row for figure in found)], frozenset({1, 2})))


def _say(title: str) -> None:
    print(f"\n== {title} ==\n", flush=True)


if __name__ == "__main__":
    main()
