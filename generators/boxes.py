"""Box noise, behind the model: how its boxes are decoded, and the side lengths that non-maximum suppression uses.

United-Perception (github.com/ModelTC/United-Perception), which trained the paper's detectors, has one switch for it:
`ALIGNED_FLAG.offset`, 1 unless a configuration says `aligned` (`build_global_flags` in its runner then sets it to 0).
With an offset of 1, a box includes its last pixel. One pixel is therefore subtracted when boxes are decoded
(`offset2bbox` and `xywh2xyxy` in up/tasks/det/models/utils/bbox_helper.py) and added wherever a side is measured: in
areas and overlaps (`vanilla_bbox_iou_overlaps` there, `naive_nms` in up/extensions/python/nms.py), in clipping, which
ends one pixel before the frame's edge (`clip_bbox`), and in the width and height of a result, in pixels of the source
(`CocoDataset.dump` in up/tasks/det/data/datasets/coco_dataset.py). The paper's listing shows only the decoding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class BoxNoise:
    """How the model's boxes are decoded and measured; the defaults change nothing.

    `decode_offset`: input pixels subtracted from a decoded box's right and lower edge. `side_offset`: pixels added to
    the distance between corners to get a side, and by which clipping stays away from the frame's far edges. `rounded`:
    corners are rounded to whole input pixels.
    """

    decode_offset: int = 0
    side_offset: int = 0
    rounded: bool = False

    def decoded(self, corners: Floats, clip: tuple[int, int] | None = None) -> Floats:
        """A head's boxes (n, 4) with the noise, of the same dtype: x1, y1, x2, y2 in input pixels.

        They are clipped to the width and height of `clip`, if the head's own decoding clips. Halves are rounded to
        even, as by NumPy, torch and C's `rint`.
        """
        if self.decode_offset:
            corners = corners - np.array([0, 0, self.decode_offset, self.decode_offset], corners.dtype)
        if clip is not None:
            corners = corners.clip(0, np.array(clip * 2, corners.dtype) - self.side_offset)
        return np.rint(corners) if self.rounded else corners

    def sides(self, corners: Floats) -> Floats:
        """Width and height (n, 2) of boxes (n, 4), for areas, overlaps and results; never below 0."""
        sides = corners[:, 2:] - corners[:, :2]
        return np.maximum(sides + self.side_offset if self.side_offset else sides, 0)


# Boxes as the head itself decodes them.
NONE = BoxNoise()


def noise(offset: int = 0, everywhere: bool = False, rounded: bool = False) -> BoxNoise:
    """The noise of a method: `offset` pixels when decoding, and `everywhere` that United-Perception uses the offset."""
    return BoxNoise(offset, offset if everywhere else 0, rounded)
