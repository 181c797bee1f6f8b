"""Which version of a library a device has: what its pixels say of that, and what else to make to learn it.

Says something only where versions are concerned: where shards have a method in some version, or a variant is so near
that it may be the device's method in another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from generators.registry import AT, PIXEL_STAGES, Release, find, order, plain
from generators.variant import name_of
from pipelines.evaluate.match.words import either
from pipelines.shards import VERSIONS, FinishedVariant, Shards

_DOES = {"decode": "decode", "resize": "resize", "color": "convert"}


def which_version(shards: Shards, names: Sequence[str]) -> str | None:
    """A line on the versions of variants with the same pixels; None where versions are not concerned."""
    parts = [part for stage in PIXEL_STAGES if (part := _at_stage(shards, names, stage))]
    return f"Which version: {'; '.join(parts)}." if parts else None


def others_to_make(shards: Shards, name: str) -> Iterator[str]:
    """Words of `--variant` for what a device that is near to a variant may have instead: other versions.

    That is the variant with all of its methods in the version that one of them has, and its method in all versions.
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
    """What the versions at a stage are, where the variants have one method there in versions that are known."""
    tokens = {shards.variants[name].stages[stage] for name in names}
    methods = {plain(token) for token in tokens}
    concerned = {v.stages[stage] for v in shards.variants.values() if plain(v.stages[stage]) in methods} - methods
    if len(methods) > 1 or not concerned:
        return None
    found = find(next(iter(methods)))
    versions = {version: None for name in _by_version(shards, names, stage) if (version := _version(name, stage))}
    if found is None or not versions:
        return None
    what = f"{found.library.name} {either(list(versions))}"
    return f"{what} {_DOES[stage]}s so" if len(versions) == 1 else f"{what}, which {_DOES[stage]} alike here"


def _by_version(shards: Shards, names: Sequence[str], stage: str) -> list[FinishedVariant]:
    """The variants in the order of their versions at a stage."""
    variants = [shards.variants[name] for name in names]
    return sorted(variants, key=lambda variant: order(f"{plain(variant.stages[stage])}{AT}{_version(variant, stage)}"))


def _version(variant: FinishedVariant, stage: str) -> str:
    """The version that a variant's method has at a stage; of the installed library, as it was; empty if not known."""
    token = variant.stages[stage]
    method = find(token)
    if method is None:
        return ""
    if isinstance(method.library, Release):
        return method.library.version
    return str(variant.summary["provenance"]["libraries"].get(method.library.name, ""))


def _in_version(token: str, release: Release) -> str:
    """A token in the version of a release, where its library is that of the release."""
    method = find(plain(token))
    if method is None or not method.library.has_versions or method.library.distribution != release.distribution:
        return token
    return f"{plain(token)}{AT}{release.version}"
