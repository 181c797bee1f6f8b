"""Checks whether annotations fit the pixels that a decoder returns: as stored, or rotated by the file's EXIF tag.

Boxes are valid if the sizes stated in the annotation file are those of the decoded images. If they are not, the message
gives how many differ, the first one, and whether EXIF explains it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# The decoder that applies EXIF rotation; all others return pixels as stored.
TURNS = "opencv_exif"
# The manifest columns that are needed.
COLUMNS = ("key", "source_path", "source_width", "source_height", "source_orientation")
# EXIF orientations from this one on lay the image on its side.
_SIDEWAYS = 5

Size = tuple[int, int]


class Misfit(NamedTuple):
    """Images whose decoded size differs from the annotations'.

    `keys` are theirs, among `of` images in all. `path`, `size` and `stated` are the first one's path, decoded size and
    stated size (width, height). `explained` counts those that would fit with the other EXIF handling; `turned` says
    whether the decoder applied EXIF.
    """

    keys: frozenset[str]
    of: int
    path: str
    size: Size
    stated: Size
    explained: int
    turned: bool

    def __str__(self) -> str:
        """What is wrong and what to do, in one line."""
        sizes = "{}x{} instead of {}x{}".format(*self.size, *self.stated)
        what = f"the size is not as annotated in {len(self.keys):,} of {self.of:,} images"
        return f"{what} (first: {self.path}, {sizes}), {self._reason}"

    @property
    def _reason(self) -> str:
        if not self.explained:
            return "not explained by EXIF: are these the annotated images?"
        part = "" if self.explained == len(self.keys) else f" in {self.explained:,} of them"
        if self.turned:
            return f"explained by EXIF{part}: boxes refer to images as stored, so use a --reference other than {TURNS}"
        return (
            f"explained by EXIF{part}: boxes refer to rotated images, so use {TURNS} (--reference {TURNS} for shards)"
        )


def misfit(rows: Iterable[Mapping[str, Any]], stated: Mapping[str, Size], turned: bool) -> Misfit | None:
    """Compare a manifest's rows, with `COLUMNS`, to the sizes stated by key; None if all agree.

    `turned` says whether the decoder rotates images as their EXIF says.
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
    """The width and height of an image as decoded; zeros if its header could not be read."""
    size = row["source_width"], row["source_height"]
    return size[::-1] if turned and row["source_orientation"] >= _SIDEWAYS else size
