"""Whether annotations are of the pixels that a decoder gives: as a file stores them, or turned as its EXIF says.

Boxes hold where the sizes that an annotation file states are those of the decoded images. Where they are not, says of
how many and of which first, and whether EXIF explains it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# The decoder that turns images; all others give them as they are stored.
TURNS = "opencv_exif"
# What of a manifest is looked at.
COLUMNS = ("key", "source_path", "source_width", "source_height", "source_orientation")
# EXIF's orientations from here on lay the image on its side.
_SIDEWAYS = 5

Size = tuple[int, int]


class Misfit(NamedTuple):
    """Images of another size than stated: their keys, of how many, the first by its path, its decoded and its stated
    size (width, height), how many would fit were they not `turned` as they are, or turned as they are not.
    """

    keys: frozenset[str]
    of: int
    path: str
    size: Size
    stated: Size
    explained: int
    turned: bool

    def __str__(self) -> str:
        """What is the matter, and what to do, in a line."""
        sizes = "{}x{} and not {}x{}".format(*self.size, *self.stated)
        what = f"{len(self.keys):,} of {self.of:,} images have another size than the annotations state"
        return f"{what} (first: {self.path}, {sizes}), {self._reason}"

    @property
    def _reason(self) -> str:
        if not self.explained:
            return "not explained by EXIF: are these the images that were annotated?"
        part = "" if self.explained == len(self.keys) else f" in {self.explained:,} of them"
        if self.turned:
            return f"explained by EXIF{part}: boxes are of images as stored, so use another --reference than {TURNS}"
        return (
            f"explained by EXIF{part}: boxes are of turned images, so use {TURNS} (--reference {TURNS} for the shards)"
        )


def misfit(rows: Iterable[Mapping[str, Any]], stated: Mapping[str, Size], turned: bool) -> Misfit | None:
    """What of a manifest's rows, with `COLUMNS`, has another size than is stated by key.

    `turned` is whether images are decoded by what turns them as their EXIF says.
    """
    wrong = []
    of = explained = 0
    for row in rows:
        have, want = decoded_size(row, turned), stated.get(row["key"])
        if want is None or not all(have):
            continue
        of += 1
        if have != want:
            wrong.append((row, have, want))
            explained += row["source_orientation"] >= _SIDEWAYS and have[::-1] == want
    if not wrong:
        return None
    row, have, want = wrong[0]
    keys = frozenset(row["key"] for row, _, _ in wrong)
    return Misfit(keys, of, row["source_path"], have, want, explained, turned)


def decoded_size(row: Mapping[str, Any], turned: bool) -> Size:
    """The width and height of an image as it is decoded; zeros where its file does not say."""
    size = row["source_width"], row["source_height"]
    return size[::-1] if turned and row["source_orientation"] >= _SIDEWAYS else size
