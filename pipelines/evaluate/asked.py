"""Which variants of existing shards a command line asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from generators.registry import AT, Method
from generators.selection import expand
from generators.variant import Variant, VariantError, is_group
from pipelines.errors import UsageError
from pipelines.shards import Shards


def asked_variants(shards: Shards, words: Sequence[str]) -> tuple[list[Variant], list[Variant]]:
    """The variants that the words of `--variant` stand for, and those among them that are named rather than in a group.

    Raises UsageError for a named variant whose pixels are missing.
    """
    alone = [part for word in words for part in word.split(",") if not is_group(part)]
    try:
        # Scoring needs neither the GPU nor the custom program that made the pixels.
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
    """What `*` stands for as a method's version: every version of it in these shards. Raises VariantError for none."""
    tokens = dict.fromkeys(token for variant in shards.variants.values() for token in variant.stages.values())

    def versions(method: Method) -> Sequence[str]:
        start = f"{method.token}{AT}"
        found = [token.removeprefix(start) for token in tokens if token.startswith(start)]
        if not found:
            raise VariantError(
                f"{start}* is not in {shards.root}: none of its variants names a version of {method.token}"
            )
        return found

    return versions
