"""The generate.py command that makes variants which a set lacks."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from generators.draw import Draw
from generators.geometry import Size
from generators.own import Program
from generators.registry import AT
from generators.variant import ANY, DEFAULT_OF_SPEECH, DEFAULT_REFERENCE, is_group
from manifests.splits import VALIDATION, split_of
from pipelines.generate.config import size_from_json
from pipelines.generate.sources.labelled import FlatSource, TarSource
from pipelines.generate.sources.spoken import SpokenSource
from pipelines.generate.target import words as geometry_words

if TYPE_CHECKING:
    from pipelines.shards.shards import Shards

# After a token: all versions of it.
VERSIONS = f"{AT}{ANY}"
# Kinds of sources that have no labels of their own.
_LABELLED_BY_LIST = (FlatSource.kind, TarSource.kind)


def generate_command(shards: Shards, names: Sequence[str], other: tuple[str, Size] | None = None) -> str:
    """The command that adds the pixels of these variants, groups or versions to a set.

    With an `other` geometry and size, the command makes them in another output.
    """
    config = shards.config
    several = {name for name in names if is_group(name) or name.endswith(VERSIONS)}
    variants = {name: shards.variant(name) for name in names if name not in several}
    pixels = dict.fromkeys(variants[name].pixels if name in variants else name for name in names)
    methods = dict.fromkeys(m for v in (shards.base, *variants.values()) for m in v.methods)
    own = [f"{m.token}={m.stage}:…" for m in methods if isinstance(m.library, Program)]
    drawn = dict.fromkeys(m.library.seed for m in methods if isinstance(m.library, Draw))
    words = ["generate.py", "--variant", shlex.quote(",".join(pixels)), "--dataset", shards.dataset]
    words += [word for method in own for word in ("--method", method)]
    built_in = shards.dataset == "sample" or config["source"].get("kind") == SpokenSource.kind
    words += ["--source", "…"] if not built_in else []
    words += ["--annotations", "…"] if shards.dataset == "coco" else []
    words += ["--labels", "…"] if config["source"].get("kind") in _LABELLED_BY_LIST else []
    words += ["--split", split] if (split := split_of(config)) != VALIDATION else []
    words += [word for seed in drawn for word in ("--seed", str(seed))]
    words += _configuration(shards, other)
    words += ["--samples-per-shard", str(config["samples_per_shard"])]
    return " ".join([*words, "--output", "…" if other else shlex.quote(shards.root.parent.address)])


def _configuration(shards: Shards, other: tuple[str, Size] | None) -> list[str]:
    """The flags for a set's configuration, with an `other` geometry and size."""
    config = shards.config
    default = DEFAULT_OF_SPEECH if shards.speech else DEFAULT_REFERENCE
    reference = ["--reference", str(config["reference"])] if config["reference"] != default else []
    if shards.speech:
        return ["--sample-rate", str(config["mel"]["rate"]), *reference]
    geometry, size = other or (str(config["geometry"]), size_from_json(config["size"]))
    image_format = ["--image-format", str(config["image_format"])] if config["image_format"] != "png" else []
    return [*geometry_words(geometry, size), *reference, *image_format]
