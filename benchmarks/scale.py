"""Whether an image costs the same with two workers, and with ten and a hundred times as many images.

    python -m benchmarks.scale [--source TREE] [--coco FOLDER] [--most N]

`pil_lanczos`, shards of 100. First one worker against two, on the same images, and on 1,134 images in shards of 1000,
which are only two shards. Then two workers on more and more images, up to N (default: 20,000): milliseconds per image
while workers are busy, processor time per image of all processes, and the peak resident memory of a worker and of the
driver. With FOLDER (of COCO's images), the same for `keep_ratio`, 800x1333. Nothing includes Ray's start.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import running
from pipelines.text import table

_PER_SHARD = 100
# Images of one shard of 1000 and a small one.
_SMALL = 1134


def main() -> None:
    """Measure, and print two tables."""
    parser = running.parser("The cost of an image, and of many.")
    parser.add_argument("--coco", type=Path, help="a folder of COCO's images")
    parser.add_argument("--most", type=int, default=20_000)
    given = parser.parse_args()
    measure(running.photographs(given.source), given.coco, given.most)


def measure(images: Sequence[bytes], coco: Path | None, most: int = 20_000) -> list[running.Figure]:
    """Print two tables; returns the figures that have aims."""
    large = [path.read_bytes() for path in sorted(coco.glob("*.jpg"))] if coco else []
    found: list[running.Figure] = []
    scaling: list[Sequence[str]] = [("images", "1 worker, ms each", "2 workers", "faster")]
    growth: list[Sequence[str]] = [("images", "number", "ms each", "processor ms each", "worker, peak", "driver, peak")]
    for name, some, geometry, counts in (
        ("ImageNet, 224x224", images, "crop", (most // 100, most // 10, most)),
        ("COCO, 800x1333", large, "keep_ratio", (most // 100, most // 50)),
    ):
        if not some:
            continue
        one, two = (_run(some, counts[1], geometry, workers).seconds for workers in (1, 2))
        found.append(running.Figure(f"{name}: two workers / one", one / two, 1.85))
        scaling.append((name, f"{one / counts[1] * 1e3:.2f}", f"{two / counts[1] * 1e3:.2f}", f"{one / two:.2f}×"))
        if geometry == "crop":
            one, two = (_run(some, _SMALL, geometry, workers, per_shard=1000).seconds for workers in (1, 2))
            found.append(running.Figure(f"{_SMALL:,} images in two shards: two workers / one", one / two, 1.85))
            what = f"{name}, {_SMALL:,} in two shards"
            scaling.append((what, f"{one / _SMALL * 1e3:.2f}", f"{two / _SMALL * 1e3:.2f}", f"{one / two:.2f}×"))
        runs = {count: _run(some, count, geometry, 2) for count in counts}
        growth += [(name, f"{count:,}", *_figures(run, count)) for count, run in runs.items()]
        for what, spent in (
            ("time", [run.seconds / count for count, run in runs.items()]),
            ("processor time", [run.working / count for count, run in runs.items()]),
        ):
            ratio = max(spent) / min(spent)
            found.append(running.Figure(f"{name}: {what} of the dearest / cheapest image", ratio, 1.1, at_most=True))
    print(table(scaling, frozenset({1, 2, 3})))
    print()
    print(table(growth, frozenset(range(1, 6))))
    return found


def _run(
    images: Sequence[bytes], count: int, geometry: str, workers: int, per_shard: int = _PER_SHARD
) -> running.Watched:
    with running.temporary() as folder:
        source = running.lay_out(images, count, Path(folder, "source"))
        asked = running.imagenet(source, Path(folder, "out"), "pil_lanczos")
        frame = ("--geometry", geometry, *(("--size", "800,1333") if geometry == "keep_ratio" else ()))
        return running.generate(*asked, *frame, "--workers", workers, "--samples-per-shard", per_shard)


def _figures(run: running.Watched, count: int) -> tuple[str, ...]:
    memory = (f"{size / 2**20:.0f} MiB" for size in (max(run.resident), run.driver))
    return f"{run.seconds / count * 1e3:.2f}", f"{run.working / count * 1e3:.2f}", *memory


if __name__ == "__main__":
    main()
