"""What one image costs, for the sums in docs/scale.md.

    python -m benchmarks.cost [--source TREE]

Runs generate.py on ImageNet's images for `all` (on a CPU) and for `pil_lanczos`, each on few and on more images, and
prints the difference per image: processor time of all processes in milliseconds, and bytes for each variant in tars, in
records and in manifests. Then the driver's work on each row when a variant is finished (reading its record and adding
it to the manifest), in microseconds of processor time. `benchmarks.plan` measures planning.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import running
from manifests.derive import part_of, write_table
from manifests.schema import Columns
from pipelines.store import Disk
from pipelines.text import table

_COUNTS = (300, 900)


class _Cost(NamedTuple):
    """The cost of a run: seconds of processor time, and bytes of all variants."""

    processor: float
    variants: int
    tars: int
    records: int
    manifests: int


def main() -> None:
    """Measure, and print two tables."""
    given = running.parser("The cost of an image.").parse_args()
    images = running.photographs(given.source)
    rows: list[Sequence[str]] = [
        ("variants", "number", "processor ms", "tar, bytes", "record, bytes", "manifests, bytes")
    ]
    finishing = 0.0
    for words in ("all", "pil_lanczos"):
        with running.temporary() as folder:
            few, more = (_cost(images, words, count, Path(folder, str(count))) for count in _COUNTS)
            finishing = _finish(Path(folder, str(_COUNTS[1])))
        number = _COUNTS[1] - _COUNTS[0]
        processor = (more.processor - few.processor) / number * 1e3
        sizes = [(large - small) / number / more.variants for small, large in zip(few[2:], more[2:], strict=True)]
        rows.append((words, f"{more.variants}", f"{processor:.1f}", *(f"{size:,.0f}" for size in sizes)))
    print("For an image; bytes for each variant of it\n")
    print(table(rows, frozenset(range(1, 6))))
    print(f"\nfinishing a variant: {finishing * 1e6:.0f} µs of the driver's processor time for each row")


def _cost(images: Sequence[bytes], words: str, count: int, folder: Path) -> _Cost:
    source = running.lay_out(images, count, folder / "source")
    run = running.generate(*running.imagenet(source, folder / "out", words), "--samples-per-shard", 300)
    output = folder / "out" / "imagenet"
    variants = sum(path.is_dir() for path in output.iterdir())
    manifests = sum(running.size_of(output, name) for name in ("manifest.*", "_info.json"))
    return _Cost(
        run.total,
        variants,
        running.size_of(output, "validation-*.tar"),
        running.size_of(output, "validation-*.json"),
        manifests,
    )


def _finish(folder: Path) -> float:
    """Seconds of processor time to finish a row."""
    records = sorted(folder.rglob("validation-*.json"))
    began = time.process_time()
    summary = write_table((part_of(Columns.read(Disk(str(record)))) for record in records), io.BytesIO())
    return (time.process_time() - began) / int(summary["totals"]["samples"])


if __name__ == "__main__":
    main()
