"""Rows of image sets: each image's source, its framing, and its distance from the reference's image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from manifests.residuals import ImageResiduals
from manifests.row import Kind, Row
from manifests.shape import COUNT, NAME

# Datasets whose samples have a class label each, in a `cls` member.
CLASSIFIED = frozenset({"sample", "imagenet"})
# The member with the segmentation label map, and the key of its hash in the `json` member.
LABEL_MAP, LABEL_MAP_SHA256 = "seg.png", "seg_sha256"

COLUMNS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("source_path", pa.string(), nullable=False),
        pa.field("source_sha256", pa.string(), nullable=False),
        pa.field("source_width", pa.int32(), nullable=False),
        pa.field("source_height", pa.int32(), nullable=False),
        pa.field("source_orientation", pa.int32(), nullable=False),
        pa.field("source_profile", pa.string()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("pixel_sha256", pa.string(), nullable=False),
        pa.field("residual_mean_abs", pa.float64()),
        pa.field("residual_max_abs", pa.int32()),
        pa.field("residual_changed", pa.float64()),
        pa.field("crop_x", pa.int32(), nullable=False),
        pa.field("crop_y", pa.int32(), nullable=False),
        pa.field("scale_x", pa.float64(), nullable=False),
        pa.field("scale_y", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True)
class ImageRow(Row):
    """One source image in one variant: the columns of `manifest.parquet`, and the other fields of its `json` member.

    Sizes are in pixels, 0 if unknown. Source sizes are as stored; scale and crop refer to the decoded image, which
    `opencv_exif` may have rotated. Residuals are None if there is no reference to compare with. `source_profile` is the
    description of the embedded ICC profile: empty if there is none, None in records older than this column.
    """

    label: int
    source_width: int
    source_height: int
    source_orientation: int
    width: int = 0
    height: int = 0
    pixel_sha256: str = ""
    residual_mean_abs: float | None = None
    residual_max_abs: int | None = None
    residual_changed: float | None = None
    crop_x: int = 0
    crop_y: int = 0
    scale_x: float = 0.0
    scale_y: float = 0.0
    source_profile: str | None = None

    def member(self) -> dict[str, Any]:
        """Columns added later are left out, so that every version of this program writes the same tar."""
        return {
            "source_width": self.source_width,
            "source_height": self.source_height,
            "source_orientation": self.source_orientation,
            "width": self.width,
            "height": self.height,
            "crop_x": self.crop_x,
            "crop_y": self.crop_y,
            "scale_x": self.scale_x,
            "scale_y": self.scale_y,
            "source_sha256": self.source_sha256,
            "pixel_sha256": self.pixel_sha256,
            **self.extra,
        }

    def members(self, config: Mapping[str, Any]) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {extension_of(str(config["image_format"])): None}
        if LABEL_MAP_SHA256 in self.extra:
            found[LABEL_MAP] = None
        if config["dataset"] in CLASSIFIED:
            found["cls"] = str(self.label).encode()
        return {**found, "json": self.json()}


def extension_of(image_format: str) -> str:
    """The file extension of an image format: `png_stored` is ordinary PNG to every reader."""
    return image_format.partition("_")[0]


def _about(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"geometry": {"name": config.get("geometry"), "size": config.get("size")}}


_SIZE = (COUNT, [COUNT])
IMAGES = Kind(
    row=ImageRow,
    columns=COLUMNS,
    later="source_profile",
    shown=("source_path", "source_profile"),
    longest_extension="json",
    digest="pixel_sha256",
    digest_of_all="pixels_sha256",
    stages=("decode", "resize", "color"),
    drawn=("decode", "resize"),
    config={"geometry": NAME, "image_format": NAME, "size": _SIZE},
    about=_about,
    about_shape={"geometry": {"name": NAME, "size": _SIZE}},
    residual_columns=("residual_mean_abs", "residual_max_abs", "residual_changed"),
    residuals=ImageResiduals.of,
    summary={"compared": COUNT, "mean_abs": (float, None), "max_abs": (COUNT, None), "changed": (float, None)},
)
