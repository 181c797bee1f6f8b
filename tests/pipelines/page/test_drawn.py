"""The page's pictures for a repository's card."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.page import drawn
from pipelines.page.html import Page
from pipelines.page.write import page_of
from pipelines.shards import open_shards


def lowest_coloured(page: Page, zero: float) -> int:
    """The pixels in the scale's lowest colour if all distances are 50, but one is 5, and another `zero`."""
    count = len(page.set.groups)
    distances = np.full((count, count), 50.0)
    distances[0, 1] = distances[1, 0] = zero
    distances[2, 3] = distances[3, 2] = 5
    picture = drawn.matrix(page._replace(apart=page.apart._replace(distances=distances)))
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    return int((pixels == (0x44, 0x01, 0x54)).all(axis=2).sum())


def test_a_distance_of_zero_is_drawn_in_the_lowest_colour(paged: Path) -> None:
    """Different variants can be equal on all measured samples; white on white, their zero could not be read."""
    page = page_of(open_shards(paged), pictures=False)
    assert lowest_coloured(page, 0) > 1.5 * lowest_coloured(page, 50) > 0
