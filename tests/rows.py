"""Rows as those of images or of mel spectrograms, which sets of the other kind do not have."""

from __future__ import annotations

from typing import NamedTuple

from manifests.images import ImageRow
from manifests.row import Row
from manifests.schema import Record
from pipelines.generate.given import Rendered


class Picture(NamedTuple):
    """A rendered image: its row and, unless it failed, its encoding."""

    row: ImageRow
    image: bytes | None


def image_row(row: Row) -> ImageRow:
    """A row, which must be an image's."""
    assert isinstance(row, ImageRow)
    return row


def image_rows(record: Record) -> list[ImageRow]:
    """A record's rows, which must be of images."""
    return [image_row(row) for row in record.rows]


def picture(rendered: Rendered) -> Picture:
    """What was rendered, which must be an image without a label map."""
    row = image_row(rendered.row)
    if rendered.files is None:
        return Picture(row, None)
    (image,) = rendered.files.values()
    return Picture(row, image)
