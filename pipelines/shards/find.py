"""Opens the set in a folder, or says why there is none."""

from __future__ import annotations

from pathlib import Path

from generators.registry import Method
from generators.variant import VariantError, in_full
from manifests.schema import SUMMARY, parse_summary
from manifests.untrusted import LARGEST_JSON
from manifests.verify import variant_folders
from pipelines.errors import UsageError
from pipelines.shards.shards import Shards
from pipelines.shards.variant import in_order, read_variant
from pipelines.store import Disk, Place


def open_shards(place: Place | Path, methods: tuple[Method, ...] = (), *, needs_reference: bool = True) -> Shards:
    """The finished variants at `place`: a dataset's folder, or an output with one dataset.

    `methods` are the user's own, for variants that are still to be made. Unless the set `needs_reference`, its first
    variant takes the place of one that is missing.
    Raises UsageError if there are no shards, if they were made with different configurations, or if the reference is
    missing.
    """
    root = Disk(str(place.absolute())) if isinstance(place, Path) else place
    folders = variant_folders(root)
    if not folders:
        raise UsageError(f"no shards at {root}: give the folder that generate.py wrote, such as out/imagenet")
    roots = list(dict.fromkeys(folder.parent for folder in folders))
    if len(roots) > 1:
        raise UsageError(f"{root} contains {len(roots)} datasets: give one of {', '.join(map(str, roots))}")
    if root in folders:
        raise UsageError(f"{root} is a single variant: give its dataset's folder, {roots[0]}")
    unfinished = [folder.name for folder in folders if not (folder / SUMMARY).is_file()]
    found = [read_variant(folder) for folder in folders if folder.name not in unfinished]
    if not found:
        raise UsageError(f"no variant in {roots[0]} is finished: run the same generate.py command again")
    configs = {variant.summary["config_sha256"]: variant for variant in found}
    if len(configs) > 1:
        one, other, *_ = configs.values()
        raise UsageError(f"{one.folder} and {other.folder} were made with different configurations: keep them apart")
    wanted = found[0].summary["config"]["reference"]
    reference = next((v for v in found if in_full(v.stages) == wanted), None)
    if reference is None and not needs_reference:
        reference = found[0]
    if reference is None:
        raise UsageError(f"the reference ({wanted}) is not in {roots[0]}: make it with generate.py --variant reference")
    shards = Shards(roots[0], reference, in_order(found, reference), tuple(unfinished), methods)
    try:
        _ = shards.base
    except VariantError as error:
        raise UsageError(f"{reference.folder / SUMMARY} names an unknown reference ({error}): run verify.py") from None
    return shards


def dataset_in(place: Place) -> str | None:
    """The dataset of the shards at a place; None if there are none that can be read."""
    for folder in variant_folders(place):
        try:
            return str(parse_summary((folder / SUMMARY).read(LARGEST_JSON), SUMMARY)["config"]["dataset"])
        except (OSError, ValueError):
            continue
    return None


def check_images(shards: Shards, what: str) -> None:
    """Raises UsageError if the shards are of recordings, which `what` cannot use."""
    if shards.speech:
        raise UsageError(f"{what} needs images, but {shards.root} has mel spectrograms of recordings")
