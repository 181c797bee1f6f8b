"""The dataset card, `OUT/<dataset>/README.md`: what the folder contains, for people and for the Hub's viewer.

Derived from the summaries in that folder and from nothing else.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifests.kinds import kind_of
from manifests.schema import CARD_ENTRY, SUMMARY, parse_summary
from manifests.splits import VALIDATION, split_of
from manifests.untrusted import LARGEST_JSON
from pipelines.generate.sources.sample import PHOTOGRAPHS
from pipelines.generate.wording import wording
from pipelines.store import Place
from pipelines.text import size

TERMS = {
    "sample": "The photographs are free to share:\n\n"
    + "\n".join(f"- `{Path(p.path).name}`: {p.licence}" for p in PHOTOGRAPHS),
    "coco": "The images are under the terms that their Flickr owners chose; COCO's annotations, which are not part of "
    "the shards, are CC BY 4.0.",
    "cityscapes": "The images and label maps are under Cityscapes' licence (research only, no redistribution).",
    "speech": "The recordings are under their own terms: LJSpeech is in the public domain, and the built-in ones are "
    "synthetic.",
    "imagenet": "The images are under ImageNet's terms of access (non-commercial research and education) and may not "
    "be redistributed openly.",
}

CITATION = """@inproceedings{wang2023sysnoise,
  title = {SysNoise: Exploring and Benchmarking Training-Deployment System Inconsistency},
  author = {Wang, Yan and Li, Yuhang and Gong, Ruihao and Liu, Aishan and Wang, Yanfei and Hu, Jian and Yao, Yongqiang
            and Zhang, Yunchen and Xiao, Tianzi and Yu, Fengwei and Liu, Xianglong},
  booktitle = {Proceedings of Machine Learning and Systems},
  year = {2023},
  url = {https://arxiv.org/abs/2307.00280},
}"""


def card(dataset: str, summaries: Sequence[Mapping[str, Any]]) -> bytes:
    """The card of a dataset's finished variants."""
    return "\n".join([*_front_matter(summaries), "", *_body(dataset, summaries), ""]).encode()


def read_summaries(root: Place) -> Iterator[dict[str, Any]]:
    """The summaries of the finished variants under `root`, without their lists of shards, which may be very long.

    Damaged ones are skipped: verify.py reports them.
    """
    for folder in root.folders():
        with contextlib.suppress(ValueError, FileNotFoundError):
            summary = parse_summary((root / folder / SUMMARY).read(LARGEST_JSON), folder)
            del summary["shards"]
            yield summary


def alike(summaries: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Groups of variants, by their summaries, that produce the same result for every sample."""
    groups: dict[str, list[str]] = defaultdict(list)
    for summary in summaries:
        if summary["totals"]["samples"]:
            groups[summary[kind_of(summary["config"]["dataset"]).digest_of_all]].append(summary["name"])
    return [names for names in groups.values() if len(names) > 1]


def variants_table(summaries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A Markdown table of variants: their stages, samples and residuals."""
    for place, summary in enumerate(summaries):
        dataset = summary["config"]["dataset"]
        stages, words = kind_of(dataset).stages, wording(dataset)
        if not place:
            headings = [heading.replace("|", "\\|") for heading in words.headings]
            yield _row("variant", *stages, "samples", "failed", "size", *headings)
            yield _row("---", *("---" for _ in stages), *("---:" for _ in range(3 + len(headings))))
        totals, residual = summary["totals"], summary["residual"]
        yield _row(
            f"`{summary['name']}`",
            *(summary["variant"][stage] for stage in stages),
            *(f"{totals[name]:,}" for name in ("samples", "failed")),
            size(totals["bytes"]),
            *(words.figures(residual) if residual["compared"] else ("–",) * len(words.headings)),
        )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _front_matter(summaries: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = ["---", "configs:"]
    for summary in summaries:
        split = split_of(summary["config"])
        lines += [
            f"{CARD_ENTRY}{json.dumps(summary['name'])}",
            "  data_files:",
            f"  - split: {split}",
            f"    path: {json.dumps(summary['name'] + f'/{split}-*.tar')}",
        ]
    return [*lines, "---"]


def _body(dataset: str, summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    words = wording(dataset)
    split = split_of(summaries[0]["config"]) if summaries else VALIDATION
    lines = [
        f"# SysNoise shards: {dataset}",
        "",
        f"{words.made_of(dataset, split)}, as lossless WebDataset shards: one folder for each variant. Score a model "
        "on each of them to learn what a mismatch between training and deployment costs (SysNoise, MLSys 2023).",
        "",
        *variants_table(summaries),
    ]
    lines += ["", *(f"{words.alike}: {', '.join(names)}.\n" for names in alike(summaries))]
    reference = f"`{summaries[0]['config']['reference']}`" if summaries else ""
    lines += [
        f"{words.legend.format(reference)} Each variant's `manifest.parquet` has a row for every source "
        f"{words.sample}, with the sha256 of its {words.result}; `manifest.json` says what made it.",
        "",
        "## Terms",
        "",
        TERMS[dataset],
    ]
    return lines
