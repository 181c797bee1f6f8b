"""What sharing work between variants saves.

    python -m benchmarks.shared [--source TREE] [--variant VARIANT ...]

Processor time of rendering and encoding in one process, per image and variant, in three ways: each variant separately,
with its reference, as a run of one variant does; all variants of a decoder together, so that an image is decoded, and
the reference rendered, once for each decoder; and all together, as a run does: the reference is rendered once, and work
on equal pixels (such as those of `pil`, `opencv` and `dali`) is done once. Pixels, rows and bytes must be equal.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks import running
from generators.selection import expand
from generators.variant import Variant, reference
from pipelines.generate.given import Rendered
from pipelines.generate.render import Renderer
from pipelines.generate.sources import Sample
from pipelines.text import table

_VARIANTS = ("paper", "decode", "color")
_SAMPLE = Sample("sample", 0, "sample.JPEG", 0, ())


def main() -> None:
    """Measure, and print a table."""
    parser = running.parser("What sharing saves.")
    parser.add_argument("--variant", nargs="+", default=_VARIANTS)
    given = parser.parse_args()
    measure(running.photographs(given.source), given.variant)


def measure(images: Sequence[bytes], variants: Sequence[str] = _VARIANTS) -> None:
    """Print a table. Exits if the results differ."""
    base = reference()
    rows: list[Sequence[str]] = [("variants", "number", "separately, ms", "by decoder, ms", "together, ms", "saved")]
    for words in variants:
        some = expand([words], base)[0]
        decoders = dict.fromkeys(variant.decode for variant in some)
        by_decoder = [[variant for variant in some if variant.decode == decoder] for decoder in decoders]
        seconds = []
        found: list[dict[str, list[Rendered]]] = []
        for parts in ([[variant] for variant in some], by_decoder, [some]):
            spent, results = _rendered(images, parts, base)
            seconds.append(spent / len(images) / len(some) * 1e3)
            found.append(results)
        if found[0] != found[1] or found[1] != found[2]:
            raise SystemExit(f"{words}: variants rendered together differ from those rendered separately")
        saved = f"{1 - seconds[2] / seconds[0]:.0%}"
        rows.append((words, f"{len(some)}", *(f"{each:.2f}" for each in seconds), saved))
    print(table(rows, frozenset(range(1, 6))))


def _rendered(
    images: Sequence[bytes], parts: Sequence[Sequence[Variant]], base: Variant
) -> tuple[float, dict[str, list[Rendered]]]:
    """Seconds of processor time, and the results for a few images, by variant."""
    kept: dict[str, list[Rendered]] = {}
    seconds = 0.0
    for part in parts:
        renderer = Renderer(part, base, "crop", (224,), "png", 0)
        renderer.render(_SAMPLE, images[0])  # builds DALI's pipelines
        for index, data in enumerate(images):
            began = time.process_time()
            results = renderer.render(_SAMPLE, data)
            seconds += time.process_time() - began
            if index < 20:
                for variant, result in zip(part, results, strict=True):
                    kept.setdefault(variant.name, []).append(result)
    return seconds, kept


if __name__ == "__main__":
    main()
