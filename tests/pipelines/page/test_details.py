"""Details against what they were cut from: unpacked as the page's script does it, in NumPy."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.page import details, html
from pipelines.page.details import STEPS, Details
from pipelines.page.write import MOST_GROUPS


def unpacked(detail: details.Detail) -> list[NDArray[np.generic]]:
    """Every group's values, of shape (height, width, channels)."""
    script = detail.for_script
    _, _, width, height = script["box"]
    plain = zlib.decompress(base64.b64decode(script["data"]))
    planes = np.frombuffer(plain, f"<u{script['bytes']}").reshape(-1, script["channels"], height, width)
    whole = [planes[0], *(planes[0] + difference for difference in planes[1:])]
    return [values.transpose(1, 2, 0) for values in whole]


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_details_are_the_pixels_where_they_differ_most() -> None:
    reference = noise(300, 400, 3)
    other = reference.copy()
    other[40:60, 350:380] ^= 255
    taken = Details(["a"], speech=False)
    taken.look("a", [reference, other])
    (found,) = taken.fitting()
    x, y, width, height = found.box
    assert x <= 350
    assert x + width >= 380
    assert y <= 40
    assert y + height >= 60
    for image, values in zip((reference, other), unpacked(found), strict=True):
        assert (values == image[y : y + height, x : x + width]).all()


def test_a_frame_of_another_size_has_no_detail() -> None:
    taken = Details(["a"], speech=False)
    taken.look("a", [noise(30, 40, 3), noise(40, 30, 3), noise(30, 40, 3, seed=1)])
    (found,) = taken.fitting()
    assert found.for_script["there"] == [True, False, True]
    assert (unpacked(found)[1] == noise(30, 40, 3, seed=1)).all()


@pytest.mark.parametrize(("variants", "side"), [(3, 224), (75, 64)])
def test_details_fit_whatever_they_hold(variants: int, side: int) -> None:
    taken = Details([str(place) for place in range(8)], speech=False)
    for key in taken.keys:
        taken.look(key, [noise(side, side, 3, seed=seed) for seed in range(variants)])
    found = taken.fitting()
    assert [one.key for one in found] == taken.keys
    assert 0 < sum(len(one.data) for one in found) <= 2_600_000


def test_spectrograms_keep_more_than_is_promised_of_them() -> None:
    rng = np.random.default_rng(3)
    mels = [rng.uniform(-11.5, 3, (80, frames)).astype(np.float32) for frames in (90, 92)]
    taken = Details(["a"], speech=True)
    taken.look("a", mels)
    (found,) = taken.fitting()
    x, y, width, height = found.box
    for mel, values in zip(mels, unpacked(found), strict=True):
        shown = mel[::-1][y : y + height, x : x + width]
        assert np.abs((values[:, :, 0].astype(float) - 2**15) / STEPS - shown).max() <= 0.5 / STEPS + 1e-6


def test_a_page_of_as_many_variants_as_there_may_be_fits() -> None:
    """The largest matrix and the largest maps leave room for the details, tables and scripts."""
    cells = details._CELL * MOST_GROUPS**2
    assert cells + (details._ROOM - cells) + html._ROOM_FOR_MAPS + 1_000_000 <= html.LARGEST
    assert cells < details._ROOM
