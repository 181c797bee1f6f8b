"""Rows typed as those of images, for tests on sets that have no others."""

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
    """A record's rows, which must be images'."""
    return [image_row(row) for row in record.rows]


def picture(rendered: Rendered) -> Picture:
    """A result as an image, which must not have a label map."""
    row = image_row(rendered.row)
    if rendered.files is None:
        return Picture(row, None)
    (image,) = rendered.files.values()
    return Picture(row, image)
