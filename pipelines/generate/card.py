"""The dataset card, `OUT/<dataset>/README.md`: what the folder holds, for people and for the Hub's viewer.

Derived from the summaries beside it and from nothing else.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifests.schema import CARD_ENTRY, SPLIT, SUMMARY, parse_summary
from manifests.untrusted import LARGEST_JSON
from pipelines.generate.sources.sample import PHOTOGRAPHS
from pipelines.store import Place
from pipelines.text import size

TERMS = {
    "sample": "The photographs are free to share:\n\n"
    + "\n".join(f"- `{Path(p.path).name}`: {p.licence}" for p in PHOTOGRAPHS),
    "coco": "The images are under the terms that their Flickr owners chose; COCO's annotations, which are not part of "
    "the shards, are CC BY 4.0.",
    "cityscapes": "The images and label maps are under Cityscapes' licence (research only, no redistribution).",
    "imagenet": "The images are under ImageNet's terms of access (non-commercial research and education) and may not "
    "be redistributed openly.",
}


def card(dataset: str, summaries: Sequence[Mapping[str, Any]]) -> bytes:
    """The card of a dataset's finished variants."""
    return "\n".join([*_front_matter(summaries), "", *_body(dataset, summaries), ""]).encode()


def read_summaries(root: Place) -> Iterator[dict[str, Any]]:
    """The summaries of the finished variants under `root`, without their shards, which may be very many.

    One that is damaged is left to verify.py, which names it.
    """
    for folder in root.folders():
        with contextlib.suppress(ValueError, FileNotFoundError):
            summary = parse_summary((root / folder / SUMMARY).read(LARGEST_JSON), folder)
            del summary["shards"]
            yield summary


def alike(summaries: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """The groups of variants, by their summaries, that have the same pixels on every image."""
    groups: dict[str, list[str]] = defaultdict(list)
    for summary in summaries:
        if summary["totals"]["samples"]:
            groups[summary["pixels_sha256"]].append(summary["name"])
    return [names for names in groups.values() if len(names) > 1]


def variants_table(summaries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A Markdown table of variants: their stages, samples and residuals."""
    yield "| variant | decode | resize | color | samples | failed | size | mean abs. residual | values changed |"
    yield "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for summary in summaries:
        stages, totals, residual = summary["variant"], summary["totals"], summary["residual"]
        figures = (
            "| – | – |" if not residual["compared"] else (f"| {residual['mean_abs']:.3f} | {residual['changed']:.1%} |")
        )
        yield (
            f"| `{summary['name']}` | {stages['decode']} | {stages['resize']} | {stages['color']} "
            f"| {totals['samples']:,} | {totals['failed']:,} | {size(totals['bytes'])} {figures}"
        )


def _front_matter(summaries: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = ["---", "configs:"]
    for summary in summaries:
        lines += [
            f"{CARD_ENTRY}{json.dumps(summary['name'])}",
            "  data_files:",
            f"  - split: {SPLIT}",
            f"    path: {json.dumps(summary['name'] + f'/{SPLIT}-*.tar')}",
        ]
    return [*lines, "---"]


def _body(dataset: str, summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"# SysNoise shards: {dataset}",
        "",
        f"Validation images of `{dataset}`, decoded, resized and colour-converted by different libraries, as lossless "
        "WebDataset shards: one folder for each variant. Score a model on each of them to learn what a mismatch "
        "between training and deployment costs (SysNoise, MLSys 2023).",
        "",
        *variants_table(summaries),
    ]
    lines += ["", *(f"Same pixels on every image: {', '.join(names)}.\n" for names in alike(summaries))]
    lines += [
        "Residuals are against the reference, over all values of all images (0 to 255). Each variant's "
        "`manifest.parquet` has a row for every source image, with its pixels' sha256; `manifest.json` says what "
        "made it.",
        "",
        "## Terms",
        "",
        TERMS[dataset],
    ]
    return lines
