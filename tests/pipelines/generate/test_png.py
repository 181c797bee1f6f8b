"""A PNG that is proven has the pixels that decoders see, and what fpng writes is proven and can be read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from generators.pixels import opencv
from generators.registry import METHODS
from manifests.png import read
from pipelines.generate import png
from tests.pngs import assembled, chunk

GRADIENT = np.add.outer(np.arange(21), np.arange(17) * 3)[..., None].repeat(3, 2).astype(np.uint8)


def test_what_fpng_writes_is_proven_whatever_its_shape(photographs: dict[str, bytes]) -> None:
    images = [METHODS["pil"].load()(data) for data in photographs.values()]
    noise = np.random.default_rng(0)
    images += [noise.integers(0, 256, shape, np.uint8) for shape in ((1, 1, 3), (1, 64, 3), (64, 1, 3), (300, 400, 3))]
    for image in images:
        for data in (png.write(image), png.write_stored(image)):
            assert png.is_proven(data, image)
            found = read(data)
            assert found is not None
            np.testing.assert_array_equal(found, image)


@given(st.integers(1, 70_000), st.integers(0, 99))
@example(65534, 0)  # as many bytes as fit into one block, and one more
@example(65535, 0)
def test_stored_pixels_are_what_decoders_read(values: int, seed: int) -> None:
    """With rows that end at the end of a block, before and after it."""
    image = np.random.default_rng(seed).integers(0, 256, (1, -(-values // 3), 3), np.uint8)
    data = png.write_stored(image)
    assert [found.tolist() for found in seen(data)] == [image.tolist()] * 2


def test_one_different_value_is_noticed_anywhere() -> None:
    data = png.write(GRADIENT)
    for at in np.ndindex(GRADIENT.shape):
        other = GRADIENT.copy()
        other[at] ^= 1
        assert not png.is_proven(data, other)


def test_another_shape_is_not_the_image() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    assert not png.is_proven(png.write(image), np.zeros((6, 4, 3), np.uint8))


def seen(data: bytes) -> list[NDArray[np.uint8]]:
    """The pixels that OpenCV and Pillow read from a PNG, if they can."""
    found = []
    for decode in (opencv.decode, lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))):
        try:
            found.append(decode(data))
        except Exception:  # decoders have their own exceptions
            continue
    return found


@given(st.data())
def test_damage_is_never_proven_unless_decoders_read_the_same(data: st.DataObject) -> None:
    whole = png.write(GRADIENT)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 9)))
    damaged = whole[:start] + data.draw(st.binary(max_size=9)) + whole[end:]
    if png.is_proven(damaged, GRADIENT):
        assert damaged == whole


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
@example([0, 2, 0])
@example([0, 5])
def test_files_of_other_writers_are_proven_only_if_they_decode_alike(filters: list[int]) -> None:
    data, black = assembled(filters), np.zeros((len(filters), 3, 3), np.uint8)
    proven = png.is_proven(data, black)
    assert proven == (set(filters) <= {0, 2})
    assert not proven or [image.tolist() for image in seen(data)] == [black.tolist()] * 2


@pytest.mark.parametrize("kind", [b"tRNS", b"gAMA", b"PLTE", b"acTL", b"IEND"])
def test_chunks_that_could_mean_something_are_left_to_a_decoder(kind: bytes) -> None:
    black = np.zeros((2, 3, 3), np.uint8)
    assert png.is_proven(assembled([0, 0]), black)
    assert not png.is_proven(assembled([0, 0], chunk(kind, bytes(6))), black)
