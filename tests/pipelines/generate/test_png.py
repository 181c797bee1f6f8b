"""A PNG that is called proven holds the pixels, as decoders see it; and what fpng writes is proven, and read."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from generators.pixels import opencv
from generators.registry import METHODS
from pipelines.generate import png

GRADIENT = np.add.outer(np.arange(21), np.arange(17) * 3)[..., None].repeat(3, 2).astype(np.uint8)


def test_what_fpng_writes_is_proven_whatever_its_shape(photographs: dict[str, bytes]) -> None:
    images = [METHODS["pil"].load()(data) for data in photographs.values()]
    noise = np.random.default_rng(0)
    images += [noise.integers(0, 256, shape, np.uint8) for shape in ((1, 1, 3), (1, 64, 3), (64, 1, 3), (300, 400, 3))]
    for image in images:
        data = png.write(image)
        assert png.is_proven(data, image)
        np.testing.assert_array_equal(read(data), image)


def read(data: bytes) -> NDArray[np.uint8]:
    found = png.read(data)
    assert found is not None
    return found


def test_one_value_of_difference_is_seen_wherever_it_is() -> None:
    data = png.write(GRADIENT)
    for at in np.ndindex(GRADIENT.shape):
        other = GRADIENT.copy()
        other[at] ^= 1
        assert not png.is_proven(data, other)


def test_another_shape_is_not_the_image() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    assert not png.is_proven(png.write(image), np.zeros((6, 4, 3), np.uint8))


def seen(data: bytes) -> list[NDArray[np.uint8]]:
    """What OpenCV and Pillow, each where it can, read from a PNG."""
    found = []
    for decode in (opencv.decode, lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))):
        try:
            found.append(decode(data))
        except Exception:  # decoders have errors of their own
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
    if png.read(damaged) is not None:
        assert damaged == whole


@given(st.integers(1, 90), st.integers(1, 9), st.integers(0, 99))
def test_what_is_read_was_written(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (1, 1, 3), np.uint8).repeat(height, 0).repeat(width, 1)
    image += np.arange(height, dtype=np.uint8)[:, None, None]  # smooth, so that fpng filters
    np.testing.assert_array_equal(read(png.write(image)), image)


def test_a_reader_inflates_no_more_than_the_image_has() -> None:
    rows = zlib.compress(bytes(10**8), 9)
    header = struct.pack(">2I5B", 3, 2, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    tracemalloc.start()
    assert png.read(b"\x89PNG\r\n\x1a\n" + b"".join(parts)) is None
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    assert png.read(b"") is None


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def assembled(filters: list[int], *more: bytes) -> bytes:
    """A PNG of zeros with a filter for each row, and chunks before the image."""
    rows = b"".join(bytes([kind, *[0] * 9]) for kind in filters)
    header = struct.pack(">2I5B", 3, len(filters), 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
@example([0, 2, 0])
@example([0, 5])
def test_a_valid_file_of_another_writer_is_read_alike_or_not_proven(filters: list[int]) -> None:
    data, black = assembled(filters), np.zeros((len(filters), 3, 3), np.uint8)
    proven = png.is_proven(data, black)
    assert proven == (set(filters) <= {0, 2})
    if (found := png.read(data)) is not None:
        assert [found.tolist()] * 2 == [image.tolist() for image in seen(data)]
    assert (found is not None) == (set(filters[1:]) in (set(), {0}, {2}) and filters[0] in (0, 2))
    assert not proven or [image.tolist() for image in seen(data)] == [black.tolist()] * 2


@pytest.mark.parametrize("kind", [b"tRNS", b"gAMA", b"PLTE", b"acTL", b"IEND"])
def test_chunks_that_could_mean_something_are_left_to_a_decoder(kind: bytes) -> None:
    black = np.zeros((2, 3, 3), np.uint8)
    assert png.is_proven(assembled([0, 0]), black)
    assert not png.is_proven(assembled([0, 0], chunk(kind, bytes(6))), black)
