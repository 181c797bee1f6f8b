"""docs/versions.md says what there is, and its recipe makes the pixels that it says."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image

from generators.geometry import GEOMETRIES
from generators.registry import find
from generators.selection import expand
from generators.variant import reference
from pipelines.evaluate.statistics import paired_proportions
from tests import ROOT
from tests.documents import block, commands, parse, read, table

PAGE = "docs/versions.md"
TEXT = read(PAGE)
FILES = 367


def test_the_commands_parse() -> None:
    for line in commands(PAGE):
        given = parse(line.split()[1:])
        assert all(find(token) for names in given.variants for token in names.split(","))
        assert all(find(token) for token in given.reference.split("+") if token)


def test_every_name_in_the_table_is_a_variant() -> None:
    words = [word for row in table(PAGE, "what") for word in re.findall(r"`'?([\w.:*-]+)'?`", row[1])]
    assert len(words) == 6
    for word in words:
        found, _ = expand([word], reference(), versions=lambda _: ["6.2.1", "12.3.0"], runs=False)
        assert found
        assert any("-" in variant.name for variant in found)


def test_what_a_version_costs_follows_from_images_lost_and_gained() -> None:
    for _, _, *cells in table(PAGE, "trained with"):
        for cell in cells:
            delta, low, high, lost, gained = re.findall(r"−?\d+(?:\.\d+)?", cell)
            found = paired_proportions(int(lost), int(gained), FILES)
            stated = [f"{100 * value:.2f}".replace("-", "−") for value in (found.delta, found.low, found.high)]
            assert stated == [delta, low, high], cell
            assert found.p > 0.25


def test_the_geometries_that_changed_are_geometries() -> None:
    rows = {row[0]: row for row in table(PAGE, "geometry")}
    names = [name for text in rows for name in re.findall(r"`(\w+)`", text)]
    assert sorted(names) == sorted(GEOMETRIES)
    assert all(int(row[2].split()[0]) <= FILES for row in rows.values())


def test_every_version_is_one_of_a_method() -> None:
    tokens = re.findall(r"`(pil_[a-z]+(?:-[\d.]+)?)`", TEXT)
    assert len(tokens) > 3
    assert all(find(token) for token in tokens)


def test_the_installed_pillow_is_the_one_that_is_told_of() -> None:
    (pinned,) = re.findall(r"^pillow==(.+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert set(re.findall(r"Pillow (1[0-2]\.[\d.]+\d)", TEXT)) == {pinned}


@pytest.mark.parametrize("name", ["BOX", "BILINEAR", "BICUBIC"])
def test_each_axis_by_itself_is_the_horizontal_pass_first(name: str, photographs: Mapping[str, bytes]) -> None:
    resample = Image.Resampling[name]
    resize = find(f"pil_{name.lower()}")
    assert resize
    with Image.open(io.BytesIO(photographs["chelsea"])) as file:
        image = file.convert("RGB").rotate(90, expand=True)
    known = {"image": image, "resample": resample}
    exec(block(PAGE, "first = image.resize"), known)
    assert image.height > 2 * image.width - 256
    np.testing.assert_array_equal(np.asarray(known["pixels"]), resize.load()(np.asarray(image), 256, 256))
