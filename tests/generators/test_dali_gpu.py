"""DALI in batches: on the CPU compared with single images and, if there is a GPU, nvJPEG compared with Pillow."""

from __future__ import annotations

import importlib.metadata
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from generators.pixels import dali, dali_gpu
from generators.registry import MAX_BATCH, METHODS, LostError

Pixels = NDArray[np.uint8]


def one(token: str, *arguments: Any) -> Pixels:
    return METHODS[token].load()(*arguments)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def mean(image: Pixels, expected: Pixels) -> float:
    assert image.shape == expected.shape
    return float(np.abs(image.astype(int) - expected).mean())


@pytest.fixture(scope="module")
def photograph(photographs: dict[str, bytes]) -> Image.Image:
    """A colour photograph with odd sides."""
    return Image.open(io.BytesIO(photographs["chelsea"])).convert("RGB").resize((301, 203))


@pytest.mark.parametrize("fancy", [False, True])
def test_a_batch_decodes_like_single_images(fancy: bool, photographs: dict[str, bytes]) -> None:
    files = [(data,) for data in photographs.values()]
    for batch in (files, files[:1], files[3:5], (files * 4)[:MAX_BATCH]):
        found = dali_gpu.decode(batch, fancy=fancy, device="cpu")
        assert len(found) == len(batch)
        for image, (data,) in zip(found, batch, strict=True):
            assert np.array_equal(image, one("dali", data))


def test_a_batch_is_resized_like_single_images(photographs: dict[str, bytes]) -> None:
    sizes = [(384, 256), (96, 64), (61, 47), (1, 1), (700, 9)]
    images = [one("pil", data) for data in photographs.values()]
    batch = [(image, *sizes[index % len(sizes)]) for index, image in enumerate(images)]
    found = dali_gpu.resize(batch, interpolation="INTERP_LINEAR", antialias=False, device="cpu")
    for image, arguments in zip(found, batch, strict=True):
        assert np.array_equal(image, one("dali_linear", *arguments))


def test_a_damaged_file_fails_only_its_own_batch(photographs: dict[str, bytes]) -> None:
    good, half = photographs["coffee"], photographs["chelsea"][:20_000]
    for bad in (half, b"no image", b"\xff\xd8\xff", b"\xff\xd8\xff\xd9"):
        with pytest.raises(ValueError, match=r"\S") as caught:
            dali_gpu.decode([(good,), (bad,), (good,)], fancy=True, device="cpu")
        assert len(str(caught.value).splitlines()) == 1
        assert len(dali_gpu.decode([(good,), (good,)], fancy=True, device="cpu")) == 2


def test_a_truncated_jpeg_is_detected_whatever_thumbnail_it_has(photograph: Image.Image) -> None:
    """nvJPEG would fill it up."""
    exif = b"Exif\0\0" + jpeg(photograph.resize((64, 48)))
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": "4:4:4"}):
        data = jpeg(photograph, exif=exif, **options)
        (image,) = dali_gpu.decode([(data + b"\0 more",)], fancy=True, device="cpu")
        assert np.array_equal(image, one("dali", data))
        for length in (3, 40, 400, len(exif) + 26, len(data) // 2, len(data) - 1000, len(data) - 2, len(data) - 1):
            with pytest.raises(ValueError, match="the JPEG is truncated"):
                dali_gpu.decode([(data[:length],)], fancy=True, device="cpu")


def test_a_gpu_that_fails_on_a_single_pixel_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(
            "Critical error in pipeline:\nencountered:\nCUDA runtime API error cudaErrorIllegalAddress (700)"
        )

    monkeypatch.setattr(dali, "run", fail)
    with pytest.raises(LostError, match=r"the GPU fails on everything \(CUDA .* cudaErrorIllegalAddress \(700\)\)"):
        dali_gpu.decode([(b"any",)], fancy=True, device="cpu")


def test_reported_versions_are_those_of_the_wheels() -> None:
    """The versions that the libraries report, compared with those of their packages."""
    found = dali_gpu.versions()
    for name in ("nvJPEG", "nvJPEG2k", "nvTIFF"):
        wheel = importlib.metadata.version(f"nvidia-{name.lower()}-cu12")
        assert wheel.startswith(f"{found[f'DALI/{name}']}."), name
    assert dali.versions().items() < found.items()


def test_missing_nvjpeg_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali_gpu, "_version", lambda name: None if name == "nvJPEG" else "1.2.3")
    with pytest.raises(ImportError, match="pip install nvidia-nvjpeg-cu12"):
        dali_gpu.versions()


@pytest.mark.gpu
def test_nvjpeg_with_interpolated_chroma_is_close_to_pillow(photographs: dict[str, bytes]) -> None:
    """libjpeg-turbo's IDCT uses integers and nvJPEG's does not; both interpolate chroma of half resolution."""
    for key, data in photographs.items():
        assert mean(one("dali_gpu_fancy", data), one("pil", data)) < 1, key


@pytest.mark.gpu
def test_repeated_chroma_is_noise(photograph: Image.Image) -> None:
    data = jpeg(photograph, subsampling="4:2:0")
    repeated, interpolated = (mean(one(token, data), one("pil", data)) for token in ("dali_gpu", "dali_gpu_fancy"))
    assert repeated > interpolated
    whole = jpeg(photograph, subsampling="4:4:4")
    assert np.array_equal(one("dali_gpu", whole), one("dali_gpu_fancy", whole))


@pytest.mark.gpu
@pytest.mark.parametrize("token", ["dali_gpu", "dali_gpu_fancy"])
def test_a_batch_on_a_gpu_equals_single_images(
    token: str, photographs: dict[str, bytes], photograph: Image.Image
) -> None:
    files = [*photographs.values(), jpeg(photograph, progressive=True), jpeg(photograph.convert("L"))]
    found = METHODS[token].load_batch()([(data,) for data in files])
    for image, data in zip(found, files, strict=True):
        assert np.array_equal(image, one(token, data))


@pytest.mark.gpu
@pytest.mark.parametrize("token", ["dali_gpu", "dali_gpu_fancy"])
def test_every_kind_of_file_decodes_on_a_gpu(token: str, photograph: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    png = io.BytesIO()
    photograph.save(png, "PNG")
    expected = np.asarray(photograph)
    for data in (
        jpeg(photograph, exif=exif),  # stays as it is stored
        jpeg(photograph, progressive=True),
        jpeg(photograph, subsampling="4:2:2"),
        jpeg(photograph.convert("CMYK")),
    ):
        assert mean(one(token, data), expected) < 6
    assert np.array_equal(one(token, png.getvalue()), expected)
    gray = one(token, jpeg(photograph.convert("L")))
    assert np.array_equal(gray[..., 0], gray[..., 2])


@pytest.mark.gpu
@pytest.mark.parametrize("token", ["dali_gpu", "dali_gpu_fancy"])
def test_a_large_damaged_jpeg_is_not_completed_from_memory(token: str, photograph: Image.Image) -> None:
    large = photograph.resize((1803, 1217))
    data = jpeg(large)
    damaged = data[: len(data) // 3] + jpeg(large.rotate(180))[-len(data) // 3 :]
    found = []
    for other in ("black", "white", "red"):
        one(token, jpeg(Image.new("RGB", large.size, other)))
        found.append(one(token, damaged))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.gpu
def test_the_gpu_still_works_after_files_that_are_not_images(photographs: dict[str, bytes]) -> None:
    good = photographs["coffee"]
    for bad in (b"\xff\xd8\xff", b"<html>not found</html>", b"\x89PNG\r\n\x1a\n" + bytes(40)):
        with pytest.raises(ValueError, match=r"\S"):
            METHODS["dali_gpu"].load_batch()([(good,), (bad,)])
        assert one("dali_gpu", good).shape == one("pil", good).shape


@pytest.mark.gpu
def test_resize_on_a_gpu_equals_the_cpu_s_up_to_rounding(photographs: dict[str, bytes]) -> None:
    batch = [(one("pil", data), 341, 256) for data in photographs.values()]
    for image, arguments in zip(METHODS["dali_gpu_linear"].load_batch()(batch), batch, strict=True):
        assert np.array_equal(image, one("dali_gpu_linear", *arguments))
        expected = one("dali_linear", *arguments)
        assert np.abs(image.astype(int) - expected).max() <= 2
        assert mean(image, expected) < 0.1
