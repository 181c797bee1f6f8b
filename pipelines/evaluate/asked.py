"""Which variants a command line asks for, of shards that are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from generators.registry import AT, Method
from generators.selection import expand
from generators.variant import Variant, VariantError, is_group
from pipelines.errors import UsageError
from pipelines.evaluate.shards import Shards


def asked_variants(shards: Shards, words: Sequence[str]) -> tuple[list[Variant], list[Variant]]:
    """What the words of `--variant` stand for, and those of them that are named one by one, not by a group.

    Raises UsageError for one that is named and whose pixels are not there.
    """
    alone = [part for word in words for part in word.split(",") if not is_group(part)]
    try:
        # What a GPU, or a program of somebody's own, has made is scored without it.
        expanded = partial(expand, model=True, known=shards.known, versions=versions_in(shards), runs=False)
        asked, _ = expanded(words, shards.base)
        named, _ = expanded(alone, shards.base)
    except VariantError as error:
        raise UsageError(f"--variant: {error}") from None
    missing = [variant.pixels for variant in named if variant.pixels not in shards.variants]
    if missing:
        raise UsageError(f"--variant {missing[0]} is not in {shards.root}; to make it: {shards.command(missing)}")
    return asked, named


def versions_in(shards: Shards) -> Callable[[Method], Sequence[str]]:
    """What `*` stands for in place of a method's version, of shards that are there: each that they have."""
    tokens = dict.fromkeys(token for variant in shards.variants.values() for token in variant.stages.values())

    def versions(method: Method) -> Sequence[str]:
        start = f"{method.token}{AT}"
        found = [token.removeprefix(start) for token in tokens if token.startswith(start)]
        if not found:
            raise VariantError(f"{start}* is not in {shards.root}: no variant there names a version of {method.token}")
        return found

    return versions
