"""A folder of predictions: which file belongs to which variant.

Refuses a file that belongs to no variant, and a folder without predictions of the reference.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

from generators.variant import Variant, VariantError
from pipelines.errors import UsageError
from pipelines.shards import Shards
from pipelines.store import Place

# Besides a file for each variant, a folder may have this one: what made the predictions.
ABOUT = "predictions.json"
TABLES = (".parquet", ".csv", ".jsonl", ".ndjson", ".json")


def find_predictions(
    folder: Place, shards: Shards, suffixes: Collection[str], *, folders: bool = False
) -> tuple[Shards, dict[str, Place]]:
    """The predictions of each variant that has any, with the shards extended by variants with noise in the model.

    Predictions are a file with one of these suffixes, a folder if there are no suffixes, and either with `folders`.
    Raises UsageError for a file that belongs to no variant, for two of the same variant, and if the reference has none.
    """
    if not folder.is_dir():
        raise UsageError(f"--predictions {folder} is not a folder: give one with a file for each variant")
    contents = folder.contents()
    found: dict[str, Place] = {}
    noised: list[Variant] = []
    files = {name: (folder / name).stem for name in contents.files if (folder / name).suffix in suffixes}
    takes_folders = folders or not suffixes
    inner = {name: name for name in contents.folders} if takes_folders else {}
    for place, written in ((folder / name, written) for name, written in {**files, **inner}.items()):
        if place.name.startswith(".") or place.name == ABOUT:
            continue
        name = _variant_of(place, written, shards, noised)
        if name in found:
            raise UsageError(f"{found[name]} and {place} are both predictions of {name}: keep one of them")
        found[name] = place
    if not found:
        of_files = [f"*{', *'.join(suffixes)}"] if suffixes else []
        wanted = " or ".join([*of_files, *(["a folder of arrays"] if folders else [])]) or "a folder of label maps"
        there = ", ".join(folder.names()[:3])
        seen = f"it has {there}" if there else "it is empty"
        raise UsageError(f"no predictions in {folder}: give {wanted} for each variant, named after it; {seen}")
    if shards.reference.name not in found:
        raise UsageError(
            f"{folder} has no predictions of the reference, {shards.reference.name}: there is nothing to compare with"
        )
    shards = shards.with_noise(noised)
    return shards, {name: found[name] for name in shards.variants if name in found}


def _variant_of(place: Place, written: str, shards: Shards, noised: list[Variant]) -> str:
    """The variant that predictions are named after, which may be unfinished.

    A variant with noise in the model is added to `noised` if its pixels exist.
    """
    known = {*shards.variants, *shards.unfinished}
    variant = _canonical(written, shards)
    for name in (written, variant.name if variant else ""):
        if name in known:
            return name
    if variant and variant.noise and variant.pixels in shards.variants:
        noised.append(variant)
        return variant.name
    near = difflib.get_close_matches(written, shards.variants, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(shards.variants)}"
    raise UsageError(f"{place} belongs to no variant in {shards.root}: {hint}")


def _canonical(written: str, shards: Shards) -> Variant | None:
    try:
        return shards.variant(written)
    except VariantError:
        return None
