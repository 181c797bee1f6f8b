"""The dataset card of a repository on the Hub, for people, for `load_dataset` and for the Hub's viewer.

Made only from the manifests of the repository's variants.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from huggingface_hub import DatasetCardData

from generators.variant import in_full
from manifests.schema import CARD_ENTRY, TABLE
from manifests.splits import split_of
from pipelines.generate.card import CITATION, TERMS, alike, variants_table
from pipelines.generate.wording import wording
from pipelines.hub.look import DIFFERENCES, RESIDUALS
from pipelines.page.write import PAGE
from pipelines.text import size

_TASKS = {"coco": "object-detection", "cityscapes": "image-segmentation", "speech": "text-to-speech"}
# The options that give the source.
_INPUTS = {"sample": "", "coco": " --source IMAGES --annotations FILE", "speech": " --source RECORDINGS"}
# The Hub's names for numbers of samples.
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**9, "1M<n<10M"))
_PROMPTS = {
    "imagenet": "These images are derived from ImageNet. By asking for access you confirm that ImageNet's terms of "
    "access (https://image-net.org/download.php) bind you: the images are for non-commercial research and education, "
    "the researcher accepts full responsibility for their use, and they may not be passed on to others.",
    "cityscapes": "These images are derived from Cityscapes. By asking for access you confirm that you have registered "
    "for it (https://www.cityscapes-dataset.com) and that its licence binds you: research only, no redistribution.",
}
_PROMPT = "By asking for access you confirm that the terms of the images bind you."

Summary = Mapping[str, Any]


def hub_card(
    repo: str, summaries: Sequence[Summary], *, gated: bool, pixels: bool, shown: Collection[str] = ()
) -> bytes:
    """The card of `repo` for variants with these summaries (`manifest.json`), all with the same configuration.

    With `pixels`, `load_dataset` has a configuration for each variant's shards; without, for each variant's manifest.
    `shown` are the names of the charts and pages that the repository has.
    """
    lines = ["---", *_front_matter(summaries, gated=gated, pixels=pixels), "---", ""]
    return "\n".join([*lines, *_body(repo, summaries, pixels=pixels, shown=shown), ""]).encode()


def _front_matter(summaries: Sequence[Summary], *, gated: bool, pixels: bool) -> Iterator[str]:
    dataset = str(summaries[0]["config"]["dataset"])
    samples = max(int(summary["totals"]["samples"]) for summary in summaries)
    data = DatasetCardData(
        pretty_name=f"SysNoise {dataset}",
        license="other",
        license_name=f"{dataset}-terms",
        task_categories=[_TASKS.get(dataset, "image-classification")],
        size_categories=[next((name for limit, name in _SIZES if samples < limit), "other")],
        tags=["sysnoise", "robustness", "webdataset"],
    )
    yield from data.to_yaml().splitlines()
    if gated:
        yield f"extra_gated_prompt: {json.dumps(_PROMPTS.get(dataset, _PROMPT))}"
    yield "configs:"
    for summary in summaries:
        # JSON strings are valid YAML, and the local check of a card parses them as JSON.
        name = str(summary["name"])
        split = split_of(summary["config"])
        files = f"{name}/{split}-*.tar" if pixels else f"{name}/{TABLE}"
        yield f"{CARD_ENTRY}{json.dumps(name)}"
        yield from ("  data_files:", f"  - split: {split}", f"    path: {json.dumps(files)}")


def _body(repo: str, summaries: Sequence[Summary], *, pixels: bool, shown: Collection[str]) -> Iterator[str]:
    first = summaries[0]
    config, name = first["config"], next(str(s["name"]) for s in summaries[::-1])
    dataset = config["dataset"]
    words = wording(dataset)
    total = sum(int(summary["totals"]["bytes"]) for summary in summaries)
    yield from (f"# SysNoise shards: {dataset}", "")
    what = words.made_of(str(dataset), split_of(config))
    yield (
        f"{what}: one configuration for each variant, {len(summaries)} in all. Score a model on each of them to "
        "learn what a mismatch between training and deployment costs."
    )
    yield ""
    if pixels:
        yield f"Lossless WebDataset shards, {size(total)}. {words.about(first)}"
    else:
        yield (
            f"**Manifests only: no {words.result}.** Anyone who has the source {words.sample}s can make the same set "
            f"and prove that all {words.result} agree; the shards are {size(total)}. {words.about(first)}"
        )
    yield ""
    yield from variants_table(summaries)
    yield ""
    yield from (f"{words.alike} (degenerate): {', '.join(names)}.\n" for names in alike(summaries))
    yield (
        f"{words.legend.format('`' + config['reference'] + '`')} Each folder's `manifest.parquet` has a row for every "
        f"source {words.sample}: the sha256 of its {words.result}, or why it failed."
    )
    yield from _to_look_at(shown)
    yield from _use(repo, name, _reference(summaries), config, pixels=pixels)
    yield from _made_by(summaries)
    yield from ("", "## Terms", "", TERMS[dataset], "", "## Citation", "", "```bibtex", CITATION, "```")


def _to_look_at(shown: Collection[str]) -> Iterator[str]:
    if shown:
        yield from ("", "## How far apart", "")
    for name, what in (
        (DIFFERENCES, "Differences between all variants"),
        (RESIDUALS, "Differences from the reference"),
    ):
        if name in shown:
            yield from (f"![{what}]({name})", "")
    if PAGE in shown:
        yield f"`{PAGE}` shows both, and where in the frame the differences lie: download it, and open it in a browser."


def _reference(summaries: Sequence[Summary]) -> str | None:
    """The name of the variant that the others are compared with; None if it is missing."""
    spelled = {in_full(summary["variant"]): str(summary["name"]) for summary in summaries}
    return spelled.get(summaries[0]["config"]["reference"])


def _use(repo: str, name: str, reference: str | None, config: Mapping[str, Any], *, pixels: bool) -> Iterator[str]:
    yield from ("", "## Use", "")
    dataset = str(config["dataset"])
    if not pixels:
        inputs = _INPUTS.get(dataset, " --source IMAGES")
        yield from ("```sh", f"python hub.py rebuild {repo} --variant {name}{inputs} --output out", "```")
        return
    yield from ("```python", "from datasets import load_dataset", "")
    yield f'shards = load_dataset("{repo}", "{name}", split="{split_of(config)}", streaming=True)'
    yield from ("```", "", "With SysNoise shards (pull, which verifies; verify again; score):", "", "```sh")
    both = name if reference in (None, name) else f"{reference},{name}"
    yield f"python hub.py pull {repo} --variant {both} --output out"
    yield f"python verify.py out/{dataset}"
    if reference:  # scoring needs it
        scored = " --annotations FILE" if dataset == "coco" else ""
        yield f"python score.py --shards out/{dataset} --predictions predictions{scored}"
    yield "```"


def _made_by(summaries: Sequence[Summary]) -> Iterator[str]:
    versions: dict[str, str] = {}
    for summary in summaries:
        versions |= summary["provenance"]["libraries"]
    yield from ("", "## Provenance", "", "| library | version |", "| --- | --- |")
    yield from (f"| {name} | {version} |" for name, version in sorted(versions.items()))
    first = summaries[0]
    yield ""
    yield (
        f"Made on {first['provenance']['cpu']['architecture']}; configuration `{first['config_sha256']}`. Every "
        "`manifest.json` has the full configuration."
    )
