"""The documented tokens, by stage and by library."""

from __future__ import annotations

from hypothesis import strategies as st

from generators.registry import METHODS
from generators.selection import expand
from generators.variant import reference

BY_LIBRARY = {
    "tensorflow": [
        *("tf", "tf_accurate", "tf_nearest", "tf_bilinear", "tf_bicubic", "tf_lanczos3", "tf_area"),
        *("tf_bilinear_aa", "tf_bicubic_aa", "tf_lanczos3_aa", "tf1_bilinear"),
    ],
    "torch": [
        "torchvision",
        *(f"torchvision_{n}" for n in ("nearest", "bilinear", "bicubic", "bilinear_noaa", "bicubic_noaa")),
    ],
    "libvips": [
        *("vips", "vips_shrink", "vips_nearest", "vips_linear", "vips_cubic", "vips_mitchell", "vips_lanczos3"),
        "sharp_lanczos3",
    ],
    "scikit-image": ["skimage_bilinear", "skimage_bilinear_aa"],
    "browser": ["chromium", "chromium_canvas"],
}
PAPER_RESIZE = [f"pil_{n}" for n in ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]] + [
    f"opencv_{n}" for n in ["nearest", "bilinear", "area", "bicubic", "lanczos"]
]
MODEL = {
    "pool": ["ceil_mode", "ceil_mode_average", "floor_mode"],
    "upsample": ["upsample_bilinear", "upsample_bilinear_corners", "upsample_nearest"],
    "precision": ["fp16", "int8", "int8_dynamic", "int8_tensor"],
    "boxes": ["box_offset", "box_offset_all", "box_round"],
}


def tokens(stage: str, *, whole: bool = True) -> st.SearchStrategy[str | None]:
    """A token of a stage, or None."""
    methods = [method for method in METHODS.values() if method.stage == stage and (whole or not method.whole)]
    return st.sampled_from([None, *(method.token for method in methods)])


def names(word: str, base: str = "pil+pil_bilinear", *, resizes: bool = True) -> list[str]:
    """The names of the variants that a word selects."""
    return [variant.name for variant in expand([word], reference(base, resizes=resizes))[0]]
