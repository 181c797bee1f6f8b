"""The programs: each release's pixels are those of a direct call, and its process survives any file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from generators.geometry import frame
from generators.registry import LIBRARIES, METHODS, Method, Release, find, plain
from tests.fuzzing import changed_bytes, fuzz
from tests.generators import profiles
from tests.generators.foreign.direct import Job, finish, release, start
from tests.real import photographs_of

Pixels = NDArray[np.uint8]

# The paper's versions, those asked for most often, and the oldest with a different API.
RELEASES = (
    ("Pillow", "5.4.1"),
    ("Pillow", "6.2.1"),
    ("Pillow", "13.0.0"),
    ("Pillow with LittleCMS", "5.4.1"),
    ("OpenCV", "4.1.1.26"),
    ("OpenCV", "4.5.5.64"),
    ("FFmpeg", "12.3.0"),
    ("DALI", "1.23.0"),
)
OLD = ("pil-6.2.1", "opencv-4.1.1.26", "ffmpeg-12.3.0")
DECODES = {
    "Pillow": "pil",
    "Pillow with LittleCMS": "pil_srgb",
    "OpenCV": "opencv",
    "FFmpeg": "ffmpeg",
    "DALI": "dali",
}


def methods(library: str) -> Iterable[Method]:
    return (method for method in METHODS.values() if method.library.name == library)


def call(token: str, *arguments: Any) -> Pixels:
    image = _method(token).load()(*arguments)
    assert image.dtype == np.uint8
    return image


def digest(image: Pixels) -> list[Any]:
    return [*image.shape[:2], hashlib.sha256(image.tobytes()).hexdigest()]


def squash(image: Pixels, token: str) -> Pixels:
    """Resized to 256×256 and cropped to the middle 224×224: the geometry `squash`."""
    target = frame("squash", image.shape[1], image.shape[0], (224,))
    assert target.resize is not None
    return target.cut(call(token, image, *target.resize))


def outcome(token: str, data: bytes) -> Pixels | str:
    """The pixels, or the one-line reason why there are none."""
    try:
        image = call(token, data, *((2,) if METHODS[plain(token)].shrinks else ()))
    except Exception as error:  # in this process, any of the library's own
        failure = error
    else:
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert image.size
        return image
    reason = str(failure)
    assert type(failure) is ValueError or not isinstance(_method(token).library, Release)
    assert reason.strip()
    assert "\n" not in reason
    assert "ended its process" not in reason
    return reason


@pytest.fixture(scope="module")
def files(photographs: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample photographs as files, one of them with a profile."""
    folder = tmp_path_factory.mktemp("photographs")
    wide = encoded(Image.open(io.BytesIO(photographs["coffee"])), icc_profile=profiles.wide())
    held = {**photographs, "wide": wide}
    for key, data in held.items():
        (folder / f"{key}.jpg").write_bytes(data)
    return {key: folder / f"{key}.jpg" for key in held}


@pytest.mark.parametrize(("library", "version"), RELEASES)
def test_every_method_of_a_release_equals_a_direct_call(library: str, version: str, files: dict[str, Path]) -> None:
    direct = start(library, version, Job(files))
    found: dict[str, dict[str, list[Any]]] = {method.token: {} for method in methods(library)}
    for key, path in files.items():
        data = path.read_bytes()
        image = call(f"{DECODES[library]}-{version}", data)
        shrink = 2 if min(image.shape[:2]) >= 512 else 1
        arguments = {"decode": (data,), "resize": (image, 256, 256), "color": (image[:256, :256],)}
        for method in methods(library):
            others = (data, shrink) if method.shrinks else arguments[method.stage]
            found[method.token][key] = digest(call(f"{method.token}-{version}", *others))
    assert found == finish(direct)


@pytest.mark.parametrize("library", ["Pillow", "Pillow with LittleCMS", "OpenCV", "FFmpeg"])
def test_the_installed_release_does_the_same_in_a_process_of_its_own(
    library: str, photographs: dict[str, bytes]
) -> None:
    version = importlib.metadata.version(LIBRARIES[library].distribution)
    release(library, version)
    image = call("pil", photographs["chelsea"])[:299]  # both sides are odd
    for method in methods(library):
        if method.stage == "decode":
            for name, data in awkward(photographs["chelsea"]).items():
                here, there = outcome(method.token, data), outcome(f"{method.token}-{version}", data)
                assert type(here) is type(there), name
                assert np.array_equal(here, there), name
        else:
            for size in ((225, 224), (100, 90), (600, 1)) if method.stage == "resize" else ((),):
                here, there = call(method.token, image, *size), call(f"{method.token}-{version}", image, *size)
                assert np.array_equal(here, there), method.token


def test_pillow_simd_equals_a_direct_call(photographs: dict[str, bytes], tmp_path: Path) -> None:
    library = LIBRARIES["Pillow-SIMD"]
    assert isinstance(library, Release)
    images = {key: call("pil", data) for key, data in photographs.items()}
    for key, image in images.items():
        (tmp_path / key).write_bytes(image.tobytes())
    given = {key: (image.shape[0], image.shape[1], tmp_path / key) for key, image in images.items()}
    tokens = tuple(method.token for method in methods(library.name))
    direct = start(library.name, library.version, Job(pixels=given, tokens=tokens))
    found = {token: {key: digest(call(token, image, 256, 256)) for key, image in images.items()} for token in tokens}
    assert found == finish(direct)
    # Nearly Pillow's: the same filters with fewer bits.
    for token in tokens:
        theirs = call(token.replace("simd", "pil"), images["coffee"], 256, 171).astype(int)
        difference = np.abs(call(token, images["coffee"], 256, 171) - theirs)
        assert difference.max() <= 2
        assert 0 < difference.mean() < 0.01
    versions = library.versions()
    assert versions["Pillow-SIMD"] == library.version
    assert all(name.startswith("Pillow-SIMD") for name in versions)


def awkward(photograph: bytes) -> dict[str, bytes]:
    """Files that are not plain photographs, or not images at all."""
    picture = Image.open(io.BytesIO(photograph)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "gray": encoded(picture.convert("L")),
        "a wide gamut": encoded(picture, icc_profile=profiles.wide()),
        "a wide gamut in gray": encoded(picture.convert("L"), icc_profile=profiles.wide()),
        "inks": encoded(picture.convert("CMYK"), icc_profile=profiles.cmyk()),
        "a profile of inks in RGB": encoded(picture, icc_profile=profiles.cmyk()),
        "CMYK": encoded(picture.convert("CMYK")),
        "turned": encoded(picture, exif=exif),
        "one pixel": encoded(picture.resize((1, 1))),
        "wide": encoded(picture.resize((3000, 20))),
        "transparent": encoded(picture.convert("RGBA"), "PNG"),
        "a palette": encoded(picture.convert("P"), "PNG"),
        "16 bits": encoded(picture.convert("I;16"), "PNG"),
        "truncated": photograph[: len(photograph) // 2],
        "headless": photograph[:200],
        "text": b"<html>not found</html>",
    }


def encoded(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("token", OLD)
def test_an_old_release_gives_pixels_or_a_reason_for_any_file(token: str, photographs: dict[str, bytes]) -> None:
    alive(token, list(awkward(photographs["chelsea"]).values()), photographs["chelsea"])


@pytest.mark.parametrize("token", [*OLD, "pil-13.0.0", "dali-1.23.0"])
def test_every_odd_file_gives_pixels_or_a_reason(token: str, data: Path, photographs: dict[str, bytes]) -> None:
    odd = [path.read_bytes() for path in sorted((data / "odd").iterdir()) if path.suffix != ".tsv"]
    alive(token, [data for data in odd if data], photographs["chelsea"])


def alive(token: str, files: list[bytes], good: bytes) -> None:
    """Check that one process decodes all files and then still works; files decode alike whatever came before them."""
    _available(token)
    expected = outcome(token, good)
    processes = _children()
    forth = [outcome(token, data) for data in files]
    back = [outcome(token, data) for data in reversed(files)]
    for first, second in zip(forth, reversed(back), strict=True):
        assert np.array_equal(first, second)
    assert np.array_equal(outcome(token, good), expected)
    assert processes == _children()


def _available(token: str) -> None:
    library = _method(token).library
    assert isinstance(library, Release)
    release(METHODS[plain(token)].library.name, library.version)


def _method(token: str) -> Method:
    method = find(token)
    assert method
    return method


def _children() -> set[int]:
    return {child.pid for child in psutil.Process(os.getpid()).children()}


@pytest.mark.parametrize("token", OLD)
@given(data=st.data())
@fuzz(20)
def test_no_damaged_file_ends_the_process(token: str, photographs: dict[str, bytes], data: st.DataObject) -> None:
    damaged = data.draw(changed_bytes(photographs["clock_motion"]))
    if damaged:
        alive(token, [damaged], photographs["clock_motion"])


def test_rows_of_odd_width_do_not_depend_on_what_was_called_before(photographs: dict[str, bytes]) -> None:
    _available("ffmpeg-12.3.0")
    image = call("pil", photographs["chelsea"])
    for token, size in (("nv12_ffmpeg-12.3.0", ()), ("ffmpeg_area-12.3.0", (100, 100))):
        expected = call(token, image, *size)
        for other in (image[::-1], 255 - image, image[:, ::-1]):
            call(token, np.ascontiguousarray(other), *size)
            assert np.array_equal(call(token, image, *size), expected), token


def test_squash_equals_each_pillow_on_shared_images(data: Path) -> None:
    images = photographs_of(data)
    filters = tuple(method.token for method in methods("Pillow") if method.stage == "resize")
    asked = {"12.3.0": filters, "13.0.0": filters, "6.2.1": ("pil_box",)}
    direct = {
        version: start("Pillow", version, Job(images, tokens=those, crop=224)) for version, those in asked.items()
    }
    found: dict[str, dict[str, dict[str, list[Any]]]] = {version: {} for version in asked}
    for key, path in images.items():
        encoded = path.read_bytes()
        for version, tokens in asked.items():
            image = call(f"pil-{version}", encoded)
            found[version].setdefault("pil", {})[key] = digest(image)
            for token in tokens:
                found[version].setdefault(token, {})[key] = digest(squash(image, f"{token}-{version}"))
    assert {version: finish(process) for version, process in direct.items()} == found


def test_squash_equals_the_official_generator(data: Path, tmp_path: Path) -> None:
    """All 22 combinations, with the releases whose filters are closest to the versions that it pins."""
    images = {path.stem: path for path in sorted((data / "imagenet" / "flat").iterdir())[:30]}
    versions = {"Pillow": "12.3.0", "OpenCV": "4.5.5.64"}
    resizes = [method for method in METHODS.values() if method.stage == "resize" and method.paper]
    assert len(resizes) * len(versions) == 22
    tokens = tuple(method.token for method in resizes)
    decoded: dict[str, dict[str, Pixels]] = {}
    direct: dict[tuple[str, str], Any] = {}
    kept: dict[str, dict[str, tuple[int, int, Path]]] = {}
    for library, version in versions.items():
        folder = tmp_path / library
        folder.mkdir()
        digests = finish(start(library, version, Job(images, tokens=tokens, crop=224, keep=folder)))
        token = DECODES[library]
        direct[library, library] = digests
        kept[library] = {key: (height, width, folder / key) for key, (height, width, _) in digests[token].items()}
        decoded[library] = {key: call(f"{token}-{version}", path.read_bytes()) for key, path in images.items()}
        assert {key: digest(image) for key, image in decoded[library].items()} == digests[token]
    for decoder, resizer in (("Pillow", "OpenCV"), ("OpenCV", "Pillow")):
        direct[decoder, resizer] = finish(start(resizer, versions[resizer], Job(pixels=kept[decoder], crop=224)))
    for decoder, pictures in decoded.items():
        for method in resizes:
            library = method.library.name
            found = {
                key: digest(squash(image, f"{method.token}-{versions[library]}")) for key, image in pictures.items()
            }
            assert found == direct[decoder, library][method.token]
