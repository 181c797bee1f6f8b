"""Peak memory of a worker over one shard of 1000 images for the paper's variants.

    python -m benchmarks.memory [--source TREE] [--variant VARIANT] [--images N] [--geometry NAME] [--side N]

Runs generate.py with one worker on images repeated from TREE (with --side, on one of N x N pixels), and prints the
worker's peak resident set size, over the whole run and over its first quarter.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks import running


def main() -> None:
    """Measure, and print one line."""
    parser = running.parser("Peak memory of a worker.")
    parser.add_argument("--variant", default="paper")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--geometry", default="crop")
    parser.add_argument("--side", type=int, help="instead of photographs, noise of this many pixels a side")
    given = parser.parse_args()
    images = [_noise(given.side)] if given.side else running.photographs(given.source)
    measure(images, given.variant, given.images, given.geometry)


def measure(images: Sequence[bytes], variant: str = "paper", count: int = 1000, geometry: str = "crop") -> None:
    """Print one line."""
    with running.temporary() as folder:
        source = running.lay_out(images, count, Path(folder, "source"))
        asked = running.imagenet(source, Path(folder, "out"), variant)
        began = time.monotonic()
        seen = running.generate(*asked, "--workers", 1, "--samples-per-shard", count, "--geometry", geometry).resident
        seconds = time.monotonic() - began
    quarter = max(seen[: max(1, len(seen) // 4)])
    print(
        f"{variant}, {geometry}, {count:,} images in one shard, {seconds:.0f} s: "
        f"worker at most {max(seen) / 2**20:.0f} MiB, at most {quarter / 2**20:.0f} MiB in its first quarter"
    )


def _noise(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((side, side), 60).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
