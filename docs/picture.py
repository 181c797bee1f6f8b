"""The picture of the README: one photograph under one method of each stage, and how far each is from the reference.

    python -m docs.picture

writes `docs/picture.png`, from a photograph that is built in. `tests/test_readme.py` compares the panels' pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from generators.geometry import frame
from generators.variant import parse, reference
from pipelines.generate.sources import SampleSource
from pipelines.generate.target import choose_geometry
from pipelines.options import Target

Pixels = NDArray[np.uint8]

PATH = Path(__file__).with_name("picture.png")
PHOTOGRAPH = "chelsea"  # CC0, by Stéfan van der Walt
SIDE = 224
# The detail that is shown: left, top and side, in pixels of the variant.
LEFT, TOP, DETAIL = 36, 54, 56
# Sides of the pixels shown, of a detail and of the whole photograph.
MAGNIFIED, WHOLE = 8, 2
STRETCH = 32
# Where the file repeats the figures that are drawn, for tests and screen readers.
FIGURES = "Description"


class Column(NamedTuple):
    """A variant, and the two lines above it."""

    variant: str
    library: str
    stage: str


COLUMNS = (
    Column("pil_bilinear", "Pillow", "reference"),
    Column("ffmpeg", "FFmpeg", "decode"),
    Column("opencv_bilinear", "OpenCV", "resize"),
    Column("nv12_ascend", "NV12", "colour"),
)

PANEL = DETAIL * MAGNIFIED
GAP, MARGIN, HEAD, BETWEEN, FOOT = 40, 56, 216, 40, 168
WIDTH = 2 * MARGIN + len(COLUMNS) * PANEL + (len(COLUMNS) - 1) * GAP
HEIGHT = HEAD + 2 * PANEL + BETWEEN + FOOT
CARD, INK, DIM, MARK = "#14171c", "#f4f5f7", "#a9b1bd", "#ffd166"


def outputs() -> list[Pixels]:
    """The photograph under each column's variant: RGB, (224, 224, 3)."""
    source = SampleSource()
    (sample,) = (each for each in source.listing().samples if each.key == PHOTOGRAPH)
    (data,) = source.read([sample])
    assert isinstance(data, bytes)
    geometry, sides = choose_geometry("sample", Target("crop", (SIDE,)))
    found = []
    for column in COLUMNS:
        variant = parse(column.variant, reference())
        decoded = variant.decode.load()(data)
        target = frame(geometry, decoded.shape[1], decoded.shape[0], sides)
        assert variant.resize
        assert target.resize
        pixels = target.cut(variant.resize.load()(decoded, *target.resize))
        found.append(variant.color.load()(pixels) if variant.color else pixels)
    return found


def panels(found: list[Pixels]) -> dict[tuple[int, int], Pixels]:
    """What is shown, by the place of its upper left corner: details above; the photograph and differences below."""
    above, below = HEAD, HEAD + PANEL + BETWEEN
    shown = {}
    for number, pixels in enumerate(found):
        left = MARGIN + number * (PANEL + GAP)
        difference = np.abs(pixels.astype(int) - found[0])
        stretched = np.minimum(difference * STRETCH, 255).astype(np.uint8)
        shown[left, above] = _larger(_detail(pixels), MAGNIFIED)
        shown[left, below] = _larger(_detail(stretched), MAGNIFIED) if number else _larger(pixels, WHOLE)
    return shown


def mean_difference(pixels: Pixels, other: Pixels) -> float:
    """In steps of 0 to 255."""
    return float(np.abs(pixels.astype(int) - other).mean())


def _detail(pixels: Pixels) -> Pixels:
    return pixels[TOP : TOP + DETAIL, LEFT : LEFT + DETAIL]


def _larger(pixels: Pixels, times: int) -> Pixels:
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def figures(found: list[Pixels]) -> str:
    """The mean differences that are written below the panels."""
    return " ".join(f"{mean_difference(pixels, found[0]):.2f}" for pixels in found[1:])


def draw(found: list[Pixels]) -> Image.Image:
    """The picture, on a card of its own, so that it reads on white pages and on dark ones."""
    image = Image.new("RGBA", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, WIDTH - 1, HEIGHT - 1), radius=48, fill=CARD)
    for place, pixels in panels(found).items():
        image.paste(Image.fromarray(pixels), place)
    below = HEAD + PANEL + BETWEEN
    box = (MARGIN + LEFT * WHOLE, below + TOP * WHOLE)
    pen.rectangle((*box, box[0] + DETAIL * WHOLE, box[1] + DETAIL * WHOLE), outline=MARK, width=6)
    below_panels = ["mean |Δ|", *figures(found).split()]
    for number, (column, figure) in enumerate(zip(COLUMNS, below_panels, strict=True)):
        middle = MARGIN + number * (PANEL + GAP) + PANEL // 2
        pen.text((middle, 86), column.library, INK, _font(76, bold=True), anchor="mm")
        pen.text((middle, 160), column.stage, DIM, _font(60), anchor="mm")
        pen.text(
            (middle, HEIGHT - FOOT // 2), figure, INK if number else DIM, _font(76, bold=bool(number)), anchor="mm"
        )
    return image


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib brings it along."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


if __name__ == "__main__":
    made = outputs()
    about = PngInfo()
    about.add_text(FIGURES, figures(made))
    draw(made).save(PATH, optimize=True, pnginfo=about)
