"""Embedded ICC profiles: their descriptions, and decoding through them, compared with arithmetic and LittleCMS."""

from __future__ import annotations

import importlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from generators.pixels import icc, littlecms, pillow
from generators.pixels.foreign import process
from generators.registry import LIBRARIES, METHODS
from tests import ROOT
from tests.fuzzing import changed_bytes, fuzz
from tests.generators import profiles


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data: bytes, token: str = "pil_srgb") -> NDArray[np.uint8]:
    pixels = METHODS[token].load()(data)
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    return pixels


def named(data: bytes) -> str:
    found = pillow.header(data)
    assert found
    return found.profile


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """Colours from all over the cube."""
    steps = np.arange(0, 256, 15, np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps), -1, 3)
    return Image.fromarray(colors)


def in_srgb(colors: NDArray[np.uint8], gamma: float) -> NDArray[np.float64]:
    """From Adobe RGB's gamut to sRGB's (IEC 61966-2-1), clipped: only matrices and curves."""
    across = np.linalg.solve(profiles.to_xyz(profiles.SRGB), profiles.to_xyz(profiles.ADOBE))
    linear = np.clip((colors / 255) ** gamma @ across.T, 0, 1)
    return shown(linear)


def shown(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light encoded as sRGB."""
    return np.asarray(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def test_a_wide_gamut_becomes_srgb_by_matrices_and_curves(picture: Image.Image) -> None:
    colors = np.asarray(picture)
    found = decode(encoded(picture, icc_profile=profiles.wide()))
    error = np.abs(found - in_srgb(colors, 2.19921875))
    # LittleCMS's arithmetic has 15 bits, few of which remain at the steep end of sRGB's curve.
    assert error.max() < 4
    assert error.mean() < 0.4
    assert np.abs(found.astype(int) - colors).max() > 40


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_profile_is_applied_and_named_in_every_format(kind: str, picture: Image.Image) -> None:
    data = encoded(picture, kind, icc_profile=profiles.wide("Wide one"))
    assert named(data) == "Wide one"
    transform = ImageCms.buildTransform(io.BytesIO(profiles.wide()), ImageCms.createProfile("sRGB"), "RGB", "RGB")
    plain = decode(data, "pil")
    assert np.array_equal(decode(data), np.asarray(ImageCms.applyTransform(Image.fromarray(plain), transform)))
    assert not np.array_equal(decode(data), plain)


def test_without_a_profile_it_equals_pil(picture: Image.Image) -> None:
    for kind, mode in (("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P")):
        data = encoded(picture.convert(mode), kind)
        assert named(data) == ""
        assert np.array_equal(decode(data), decode(data, "pil"))


def test_gray_and_inks_go_through_profiles_of_their_own() -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    share = np.arange(256).reshape(16, 16, 1) / 255
    found = decode(encoded(ramp, icc_profile=profiles.gray(gamma=1.8)))
    assert np.abs(found - shown(share**1.8)).max() < 2
    assert np.abs(found[..., 0] - np.asarray(ramp).astype(int)).max() > 15
    inks = encoded(Image.merge("CMYK", [Image.new("L", (16, 16))] * 3 + [ramp]), "TIFF", icc_profile=profiles.cmyk())
    lightness = 100 * (1 - share)
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)  # CIE 15:2004, 8.2.1
    assert np.abs(decode(inks) - shown(luminance)).max() < 2
    assert np.abs(decode(inks).astype(int) - decode(inks, "pil")).max() > 5
    assert named(inks) == "Inks"


def test_gray_with_a_profile_for_rgb_is_three_equal_channels(picture: Image.Image) -> None:
    shades = picture.convert("L")
    profile = profiles.wide(gamma=1.0)
    found = decode(encoded(shades, "JPEG", quality=100, icc_profile=profile))
    as_rgb = Image.fromarray(decode(encoded(shades, "JPEG", quality=100), "pil"))
    assert np.array_equal(found, decode(encoded(as_rgb, icc_profile=profile)))
    assert np.abs(found.astype(int) - np.asarray(as_rgb)).max() > 40


def test_transparency_is_dropped_and_a_palette_is_rgb(picture: Image.Image) -> None:
    few = picture.quantize(64)
    for mode in (picture.convert("RGBA"), few):
        expected = decode(encoded(mode.convert("RGB"), icc_profile=profiles.wide()))
        assert np.array_equal(decode(encoded(mode, icc_profile=profiles.wide())), expected)


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", profiles.gray()),
        ("RGB", profiles.cmyk()),
        ("CMYK", profiles.wide()),
        ("L", profiles.cmyk()),
        ("RGB", profiles.wide()[:200]),
        ("RGB", b"no profile"),
        ("RGB", profiles.write("mntr", "RGB ", "XYZ ", {"desc": profiles.described("No curves")})),
        ("RGB", profiles.write("mntr", "Lab ", "XYZ ", {"desc": profiles.described("Another space")})),
        ("RGB", profiles.wide().replace(b"RGB ", b"\xffGB ", 1)),
    ],
)
def test_a_profile_that_does_not_fit_is_ignored(mode: str, profile: bytes, picture: Image.Image) -> None:
    data = encoded(picture.convert(mode), "JPEG", icc_profile=profile)
    assert np.array_equal(decode(data), decode(data, "pil"))
    assert named(data)


@given(data=st.data())
@fuzz(100)
def test_damage_gives_pixels_and_a_name(picture: Image.Image, data: st.DataObject) -> None:
    small = picture.resize((4, 4))
    file = encoded(small, icc_profile=data.draw(changed_bytes(profiles.wide())))
    assert decode(file).shape == (4, 4, 3)
    assert named(file).isprintable()


def test_a_tiff_profile_may_have_any_type(picture: Image.Image) -> None:
    data = encoded(picture, "TIFF", tiffinfo={34675: "a text"})  # ICC.1:2010, B.4: should be undefined bytes
    assert named(data) == icc.UNREADABLE
    assert np.array_equal(decode(data), decode(data, "pil"))


def test_its_versions_are_those_of_pillow_and_littlecms() -> None:
    found = LIBRARIES["Pillow with LittleCMS"].versions()
    assert found.pop("Pillow/littlecms2") == features.version("littlecms2")
    assert found == LIBRARIES["Pillow"].versions()


def test_a_build_without_littlecms_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(features, "check", lambda feature: feature != "littlecms2")
        patched.delitem(sys.modules, littlecms.__name__)
        problem = METHODS["pil_srgb"].problem()
        assert problem
        assert "has no LittleCMS" in problem
    importlib.import_module(littlecms.__name__)
    (tmp_path / "PIL").mkdir()
    for name, content in (("__init__", ""), ("ImageCms", ""), ("features", "def check(name): return False")):
        (tmp_path / "PIL" / f"{name}.py").write_text(content)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    serve = ROOT / "generators" / "pixels" / "foreign" / "programs" / "serve.py"
    other = process.Process([sys.executable, str(serve), "littlecms", str(os.getpid()), "1"])
    with pytest.raises(process.StartError, match="this build of Pillow has no LittleCMS"):
        other.versions()


def profile(content: bytes) -> bytes:
    return profiles.write("mntr", "RGB ", "XYZ ", {"wtpt": bytes(20), "desc": content})


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (profiles.described("sRGB IEC61966-2.1"), "sRGB IEC61966-2.1"),
        (profiles.described("  two\n lines \x1b[31m"), "two lines ?[31m"),
        (profiles.described("a\\b"), "a?b"),
        (profiles.described("long" * 40), "long" * 16),
        (profiles.described(""), icc.UNNAMED),
        (profiles.described("\0hidden"), icc.UNNAMED),
        (profiles.localised({"deDE": "Bunt", "enUS": "Colour"}), "Colour"),
        (profiles.localised({"deDE": "Bunt", "enGB": "Colour"}), "Colour"),
        (profiles.localised({"jaJP": "広色域", "deDE": "Bunt"}), "広色域"),
        (profiles.localised({"enUS": "back \u202ewards \ud800"}), "back ?wards \ufffd"),
        (profiles.localised({}), icc.UNREADABLE),
        (profiles.described("cut")[:13], icc.UNREADABLE),
        (b"", icc.UNREADABLE),
        (b"text\0\0\0\0text", icc.UNREADABLE),
    ],
)
def test_names_are_found_and_printable(content: bytes, name: str) -> None:
    assert icc.description(profile(content)) == name


@pytest.mark.parametrize("data", [b"", b"acsp", bytes(200), profiles.wide()[:140], b"x" * 5000])
def test_data_other_than_profiles_is_unreadable(data: bytes) -> None:
    assert icc.description(data) == icc.UNREADABLE


@given(data=st.data())
@fuzz(300)
def test_any_bytes_have_a_name(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([profiles.wide(), profile(profiles.localised({"enUS": "One", "deDE": "Zwei"}))]))
    name = icc.description(data.draw(changed_bytes(whole)))
    assert 0 < len(name) <= icc.LONGEST
    assert not set(name) & {chr(code) for code in (*range(32), *range(127, 160))}
    assert "\\" not in name


def test_names_and_pixels_of_real_files_equal_littlecms(data: Path) -> None:
    found = 0
    paths = [*(data / "imagenet").rglob("*.JPEG"), *(data / "odd").glob("*icc*.jpg"), *(data / "odd").glob("*rgb_ids*")]
    for path in sorted(paths):
        content = path.read_bytes()
        with Image.open(path) as picture:
            embedded = picture.info.get("icc_profile")
            space = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}.get(picture.mode)
            if not embedded:
                assert named(content) == ""
                continue
            try:
                held = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
            except OSError:
                assert named(content) == icc.UNREADABLE
                continue
            assert named(content) == held.profile.profile_description
            if held.profile.xcolor_space != space:
                continue
            transform = ImageCms.buildTransform(held, ImageCms.createProfile("sRGB"), picture.mode, "RGB")
            assert np.array_equal(decode(content), np.asarray(ImageCms.applyTransform(picture, transform))), path.name
            found += 1
    assert found > 20
