"""All benchmarks of speed, and finally a table of the aims and what was measured.

    python -m benchmarks [--source TREE] [--coco FOLDER]

Reports what it leaves out because a program is missing. Exits with status 0 whatever the figures are.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import codec, foreign, infer, libraries, limit, memory, mix, read, running, scale, shared, stages, today
from pipelines.text import table


def main() -> None:
    """Run them one after another."""
    parser = running.parser("All benchmarks of speed.")
    parser.add_argument("--coco", type=Path, help="a folder of COCO's images")
    given = parser.parse_args()
    images = running.photographs(given.source)
    began = time.monotonic()
    found = []
    _say("The libraries' bare calls")
    found += limit.measure(images)
    _say("Existing ways to make such sets")
    found += today.measure(images, today.IMG2DATASET)
    _say("Scale")
    found += scale.measure(images, given.coco)
    _say("Memory of a worker")
    memory.measure(images)
    _say("Where a worker's time goes")
    stages.measure(images)
    _say("Shared work")
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
    print(table([("what", "aim", "measured", "reached"), *(figure.row for figure in found)], frozenset({1, 2})))


def _say(title: str) -> None:
    print(f"\n== {title} ==\n", flush=True)


if __name__ == "__main__":
    main()
