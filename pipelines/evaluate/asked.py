"""Which variants a command line asks for, of shards that are there."""

from __future__ import annotations

from collections.abc import Sequence

from generators.variant import GROUPS, Variant, VariantError, expand
from pipelines.errors import UsageError
from pipelines.evaluate.shards import Shards


def asked_variants(shards: Shards, words: Sequence[str]) -> tuple[list[Variant], list[Variant]]:
    """What the words of `--variant` stand for, and those of them that are named one by one, not by a group.

    Raises UsageError for one that is named and whose pixels are not there.
    """
    alone = [part for word in words for part in word.split(",") if part.strip() not in GROUPS]
    try:
        # What a GPU, or a program of somebody's own, has made is scored without it.
        asked, _ = expand(words, shards.base, model=True, known=shards.known, runs=False)
        named, _ = expand(alone, shards.base, model=True, known=shards.known, runs=False)
    except VariantError as error:
        raise UsageError(f"--variant: {error}") from None
    missing = [variant.pixels for variant in named if variant.pixels not in shards.variants]
    if missing:
        raise UsageError(f"--variant {missing[0]} is not in {shards.root}; to make it: {shards.command(missing)}")
    return asked, named
