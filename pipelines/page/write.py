"""Makes a set's page and puts it in place."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from manifests.canonical import digest
from manifests.schema import SUMMARY
from manifests.untrusted import LARGEST_JSON
from manifests.verify import variant_folders
from pipelines import style, text, wording
from pipelines.errors import RunError, UsageError
from pipelines.page import chosen
from pipelines.page.apart import measure
from pipelines.page.details import Details
from pipelines.page.figures import MOST_SAMPLES, figures
from pipelines.page.html import LARGEST, STAMP, Page, html
from pipelines.page.opened import opened
from pipelines.progress import say
from pipelines.shards import Shards, open_shards
from pipelines.store import Place
from pipelines.store.files import put

PAGE = "index.html"
# A matrix of more variants does not fit into a page.
MOST_GROUPS = 180
# What the stamp of a page without pictures ends with.
_WITHOUT = " without-pictures"


def write_page(root: Place, *, pictures: bool | None = None) -> bool:
    """Write the page of the set at `root`, with or without parts of its samples (None: as the page there is; with
    them if there is none), unless it is up to date. Returns whether it is now.

    If no page can be made, an earlier one stays, and the reason is reported; the run does not fail.
    """
    try:
        shards = open_shards(root, needs_reference=False)
        before = _stamp_of(shards.root / PAGE)
        if pictures is None:
            pictures = not before.endswith(_WITHOUT)
        stamp = _stamp(shards, pictures)
        if before != stamp:
            put(shards.root / PAGE, html(page_of(shards, stamp, pictures=pictures)))
    except (UsageError, RunError) as error:
        say(f"no page was written: {error}")
        return False
    return True


def write_pages(place: Place, *, pictures: bool = True) -> int:
    """Write the page of every set at a place, and print where. Returns the exit status (1 if one failed)."""
    status = 0
    for root in dict.fromkeys(folder.parent for folder in variant_folders(place)):
        if write_page(root, pictures=pictures):
            print(f"{root / PAGE} shows what differs and where")
        else:
            status = 1
    return status


def page_of(shards: Shards, stamp: str = "", *, pictures: bool) -> Page:
    """What the page of a set shows. Raises RunError if a table or tar cannot be read, or the set is too large."""
    of = opened(shards)
    samples = sum(of.variants[0].summary["totals"][name] for name in ("samples", "failed"))
    if samples > MOST_SAMPLES:
        raise RunError(f"{shards.root} has more than {MOST_SAMPLES:,} samples")
    if len(of.groups) > MOST_GROUPS:
        raise RunError(f"{shards.root} has more than {MOST_GROUPS} distinct variants")
    found = figures(of)
    keys = chosen.measured(of, found) if len(of.groups) > 1 else []
    details = Details(chosen.shown(of, keys, found) if pictures and keys else [], shards.speech)
    apart = measure(of, keys, details.keys, details.look)
    return Page(of, found, len(keys), apart, details.fitting(), stamp)


def _stamp(shards: Shards, pictures: bool) -> str:
    """What a page is made of: a digest of the manifests, the code and words; and whether there are pictures."""
    manifests = {
        name: hashlib.sha256((variant.folder / SUMMARY).read(LARGEST_JSON)).hexdigest()
        for name, variant in shards.variants.items()
    }
    return digest([_code(), manifests, shards.unfinished]) + ("" if pictures else _WITHOUT)


@cache
def _code() -> str:
    folders = (Path(__file__).parent, Path(style.__file__).parent)
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
    files += [Path(text.__file__), Path(wording.__file__)]
    return digest([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])


def _stamp_of(page: Place) -> str:
    """The stamp of a page that was written before; empty if there is none."""
    try:
        found = re.search(STAMP.format(f"([0-9a-f]{{64}}(?:{_WITHOUT})?)").encode(), page.read(LARGEST))
    except (OSError, ValueError):
        return ""
    return found[1].decode() if found else ""
