"""docs/versions.md says what there is, and its recipe makes the pixels that it says."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image

import generate
import score
from generators.registry import find
from tests import ROOT

TEXT = (ROOT / "docs" / "versions.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_commands_parse() -> None:
    lines = [line.split() for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) == 3
    for _, script, *words in lines:
        parser = {"generate.py": generate._parser, "score.py": score._parser}[script]()
        given = parser.parse_args(words)
        assert all(find(token) for token in (*given.variants, *given.reference.split("+")))


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
    exec(blocks("python")[0], known)
    assert image.height > 2 * image.width - 256
    np.testing.assert_array_equal(np.asarray(known["pixels"]), resize.load()(np.asarray(image), 256, 256))
