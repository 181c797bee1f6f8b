"""Which version of a library a device has, as far as its pixels show, and which versions to make to find out.

Versions are mentioned only if the shards have a method in some version, or a variant is so near that it may be the
device's method in another version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from generators.registry import AT, PIXEL_STAGES, Release, find, order, plain
from generators.variant import name_of
from pipelines.evaluate.match.words import either
from pipelines.shards import VERSIONS, FinishedVariant, Shards

_DOES = {"decode": "decode", "resize": "resize", "color": "convert"}


def which_version(shards: Shards, names: Sequence[str]) -> str | None:
    """A line on the versions of variants with the same pixels; None if no versions are involved."""
    parts = [part for stage in PIXEL_STAGES if (part := _at_stage(shards, names, stage))]
    return f"Which version: {'; '.join(parts)}." if parts else None


def others_to_make(shards: Shards, name: str) -> Iterator[str]:
    """Words of `--variant` for other versions, which a device that is near a variant may have instead.

    They are the variant with all of its methods in the version of one of them, and its method in all versions.
    """
    stages = shards.variants[name].stages
    first = next(iter(shards.changed_stages(name)), None)
    token = stages[first or "resize"]
    method = find(token)
    if method is None or not method.library.has_versions:
        return
    if isinstance(method.library, Release) and not method.library.pinned:
        tokens = {stage: _in_version(token, method.library) for stage, token in stages.items()}
        whole = name_of(tokens, shards.reference.stages)
        if whole and whole not in shards.variants:
            yield whole
    yield f"{plain(token)}{VERSIONS}"


def _at_stage(shards: Shards, names: Sequence[str], stage: str) -> str | None:
    """The versions at a stage, in words; None unless the variants share a method that the shards have in versions."""
    tokens = {shards.variants[name].stages[stage] for name in names}
    methods = {plain(token) for token in tokens}
    versioned = {v.stages[stage] for v in shards.variants.values() if plain(v.stages[stage]) in methods} - methods
    if len(methods) > 1 or not versioned:
        return None
    found = find(next(iter(methods)))
    versions = {version: None for name in _by_version(shards, names, stage) if (version := _version(name, stage))}
    if found is None or not versions:
        return None
    what = f"{found.library.name} {either(list(versions))}"
    return f"{what} {_DOES[stage]}s like this" if len(versions) == 1 else f"{what}, which {_DOES[stage]} alike here"


def _by_version(shards: Shards, names: Sequence[str], stage: str) -> list[FinishedVariant]:
    """The variants, ordered by version at a stage."""
    variants = [shards.variants[name] for name in names]
    return sorted(variants, key=lambda variant: order(f"{plain(variant.stages[stage])}{AT}{_version(variant, stage)}"))


def _version(variant: FinishedVariant, stage: str) -> str:
    """The version of a variant's method at a stage; for an installed library, the one recorded; empty if unknown."""
    token = variant.stages[stage]
    method = find(token)
    if method is None:
        return ""
    if isinstance(method.library, Release):
        return method.library.version
    return str(variant.summary["provenance"]["libraries"].get(method.library.name, ""))


def _in_version(token: str, release: Release) -> str:
    """A token in the version of a release; unchanged if its library is another."""
    method = find(plain(token))
    if method is None or not method.library.has_versions or method.library.distribution != release.distribution:
        return token
    return f"{plain(token)}{AT}{release.version}"
