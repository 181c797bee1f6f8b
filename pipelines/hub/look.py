"""What a repository shows of a set: its page without parts of its images, and the page's charts as pictures.

Made from the variants that are both on this machine and in the repository.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.errors import RunError, UsageError
from pipelines.page import drawn
from pipelines.page.html import html
from pipelines.page.write import PAGE, page_of
from pipelines.progress import say
from pipelines.shards import open_shards
from pipelines.store import Place

DIFFERENCES, RESIDUALS = "differences.png", "residuals.png"


def to_look_at(root: Place, summaries: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """The files by name, for the variants with these summaries; none if no page can be made, with the reason on stderr.

    A variant that differs here from what the repository has is left out.
    """
    published = {summary["name"]: summary for summary in summaries}
    try:
        shards = open_shards(root, needs_reference=False)
        variants = {
            name: variant for name, variant in shards.variants.items() if published.get(name) == variant.summary
        }
        reference = variants.get(shards.reference.name) or next(iter(variants.values()))
        page = page_of(replace(shards, variants=variants, reference=reference, unfinished=()), pictures=False)
    except (UsageError, RunError) as error:
        say(f"pushing without {PAGE}: {error}")
        return {}
    found = {PAGE: html(page), RESIDUALS: drawn.distributions(page)}
    if len(page.set.groups) > 1:
        found[DIFFERENCES] = drawn.matrix(page)
    return found
