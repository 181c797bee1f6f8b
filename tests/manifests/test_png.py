"""PNGs read without a decoder have the pixels that decoders read, and others are left to a decoder."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import fpng
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

from manifests import png
from tests import pngs
from tests.fuzzing import fuzz

GRADIENT = np.add.outer(np.arange(21), np.arange(17) * 3)[..., None].repeat(3, 2).astype(np.uint8)


def written(image: NDArray[np.uint8]) -> bytes:
    data: bytes = fpng.from_bytes(image.tobytes(), image.shape[1], image.shape[0], 3)
    return data


def by_pillow(data: bytes) -> NDArray[np.uint8] | None:
    """The pixels that Pillow reads from a file whose checksums are right; None if it cannot."""
    with contextlib.suppress(Exception), Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
        return np.asarray(opened.convert("RGB"))
    return None


@given(st.integers(1, 90), st.integers(1, 9), st.integers(0, 99))
def test_pixels_survive_a_round_trip(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (1, 1, 3), np.uint8).repeat(height, 0).repeat(width, 1)
    image += np.arange(height, dtype=np.uint8)[:, None, None]  # smooth, so that fpng filters
    found = png.read(written(image))
    assert found is not None
    np.testing.assert_array_equal(found, image)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
@example([0, 2, 0])
@example([0, 5])
def test_files_of_other_writers_are_read_correctly_or_left_alone(filters: list[int]) -> None:
    data = pngs.assembled(filters)
    found, right = png.read(data), by_pillow(data)
    if found is not None:
        assert right is not None
        np.testing.assert_array_equal(found, right)
    assert (found is not None) == (set(filters[1:]) in (set(), {0}, {2}) and filters[0] in (0, 2))


def drawn(mode: str) -> Image.Image:
    noise = Image.effect_noise((19, 13), 90)
    colours = [noise, noise.rotate(90), noise.rotate(180)]
    return Image.merge(*(("RGB", colours) if mode == "P" else ("RGBA", [*colours, noise]))).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_kinds_that_fpng_does_not_write_are_left_to_a_decoder(mode: str) -> None:
    image = drawn("L").convert("I").convert("I;16") if mode == "I;16" else drawn(mode)
    for options in ({}, {"compress_level": 0}, {"compress_type": 3}):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        found, right = png.read(buffer.getvalue()), by_pillow(buffer.getvalue())
        assert right is not None
        assert found is None or (mode == "RGB" and np.array_equal(found, right))


def change(at: int, value: int) -> Callable[[bytearray], None]:
    """Sets one byte of the header."""

    def edit(header: bytearray) -> None:
        header[at] = value

    return edit


@pytest.mark.parametrize("edit", [change(at, value) for at in range(13) for value in (0, 1, 3, 4, 6, 16, 255)])
def test_other_headers_are_not_taken_for_ours(edit: Callable[[bytearray], None]) -> None:
    """Interlaced, of other depths, colours and sizes, with the bytes of an image that fits none of these."""
    header = bytearray(png.header(5, 3))
    edit(header)
    data = pngs.png(bytes(header), pngs.chunk(b"IDAT", zlib.compress(bytes(5 * 10))))
    if (found := png.read(data)) is not None:
        right = by_pillow(data)
        assert right is not None
        np.testing.assert_array_equal(found, right)


@given(st.data())
def test_a_damaged_file_is_not_read(data: st.DataObject) -> None:
    whole = written(GRADIENT)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 9)))
    damaged = whole[:start] + data.draw(st.binary(max_size=9)) + whole[end:]
    assert damaged == whole or png.read(damaged) is None


def test_a_file_that_ends_early_or_has_a_wrong_checksum_is_not_read() -> None:
    whole = written(GRADIENT)
    assert not [end for end in range(len(whole)) if png.read(whole[:end]) is not None]
    rows = zlib.compress(bytes(5 * 10))
    wrong = rows[:-1] + bytes([rows[-1] ^ 1])  # zlib's own, in a chunk whose checksum is right
    assert png.read(pngs.png(png.header(5, 3), pngs.chunk(b"IDAT", wrong))) is None


@fuzz(400)
@given(data=st.data())
def test_forged_streams_are_read_correctly_or_left_alone(data: st.DataObject) -> None:
    """With bits of deflate changed and every checksum corrected: other decoders may refuse what ISA-L inflates."""
    rows = zlib.compress(b"".join(b"\2" + row.tobytes() for row in GRADIENT), 9)
    stream = bytearray(rows[:-4])
    for _ in range(data.draw(st.integers(1, 3))):
        bit = data.draw(st.integers(0, min(len(stream), 90) * 8 - 1))
        stream[bit // 8] ^= 1 << bit % 8
    size = GRADIENT.shape[0] * (3 * GRADIENT.shape[1] + 1)
    try:
        inflated = isal_zlib.decompress(stream[2:], wbits=-15)
    except Exception:
        return
    if len(inflated) != size:
        return
    forged = bytes(stream) + struct.pack(">I", zlib.adler32(inflated))
    made = pngs.png(png.header(*GRADIENT.shape[:2]), pngs.chunk(b"IDAT", forged))
    if (found := png.read(made)) is not None:
        right = by_pillow(made)
        assert right is not None
        np.testing.assert_array_equal(found, right)


def test_stored_blocks_are_read_if_there_are_no_others() -> None:
    rows = bytes(5 * 10)
    block = png.STORED.pack(0, 20, 20 ^ 0xFFFF) + rows[:20]
    last = png.STORED.pack(1, 30, 30 ^ 0xFFFF) + rows[20:]
    compressed = zlib.compressobj(wbits=-15)
    other = compressed.compress(rows[20:]) + compressed.flush()
    end = struct.pack(">I", zlib.adler32(rows))
    for blocks, is_read in (
        (block + last, True),
        (block + other, False),
        (block + last + b"\0", False),
        (block, False),
    ):
        data = pngs.png(png.header(5, 3), pngs.chunk(b"IDAT", png.ZLIB + blocks + end))
        assert (png.read(data) is not None) == is_read
        if is_read:
            right = by_pillow(data)
            assert right is not None
            assert not right.any()


@pytest.mark.parametrize("kind", [b"tRNS", b"gAMA", b"PLTE", b"acTL", b"IEND", b"fdEC"])
def test_chunks_that_could_mean_something_are_left_to_a_decoder(kind: bytes) -> None:
    assert png.read(pngs.assembled([0, 0])) is not None
    extra = pngs.chunk(kind, bytes(6))
    assert (png.read(pngs.assembled([0, 0], extra)) is not None) == (kind == b"fdEC")
    within = pngs.assembled([0, 0], pngs.chunk(b"IDAT", b""), extra)
    assert png.read(within) is None


def test_no_more_is_inflated_than_the_image_needs() -> None:
    bomb = pngs.png(png.header(2, 3), pngs.chunk(b"IDAT", zlib.compress(bytes(10**8), 9)))
    tracemalloc.start()
    assert png.read(bomb) is None
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    assert png.read(b"") is None


def test_an_image_that_pillow_warns_about_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(GRADIENT)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", GRADIENT.shape[0] * GRADIENT.shape[1] - 1)
    assert png.read(data) is None
