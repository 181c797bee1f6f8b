"""One sample through many variants: what its rows say, and that sharing work changes nothing."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generators.pixels.pillow import header
from generators.registry import Method
from generators.variant import Variant, parse, reference
from manifests.residual import residual
from manifests.verify import decode
from pipelines.generate import render as renderer
from pipelines.generate.render import Renderer
from pipelines.generate.sources import Missing, Sample
from tests.generators import profiles
from tests.methods import ON_CPU
from tests.rows import Picture, picture

SAMPLE = Sample("chelsea", 281, "chelsea.jpg", 0, ())


def render(
    data: bytes | Missing,
    *words: str,
    geometry: str = "crop",
    size: tuple[int, ...] = (224,),
    base: str = "pil+pil_bilinear",
) -> list[Picture]:
    against = reference(base, resizes=geometry != "identity")
    variants = [parse(word, against) for word in words]
    renderer = Renderer(variants, against, geometry, () if geometry == "identity" else size, "png", 3)
    return [picture(rendered) for rendered in renderer.render(SAMPLE, data)]


def test_a_row_says_what_the_image_is(photographs: dict[str, bytes]) -> None:
    data = photographs["chelsea"]
    (rendered,) = render(data, "opencv+opencv_area+nv12_ascend")
    row, image = rendered
    assert image is not None
    pixels = decode(image, "png")
    assert pixels.shape == (row.height, row.width, 3) == (224, 224, 3)
    assert row.pixel_sha256 == hashlib.sha256(pixels.tobytes()).hexdigest()
    assert row.source_sha256 == hashlib.sha256(data).hexdigest()
    assert (row.key, row.shard, row.status, row.error, row.label) == ("chelsea", 3, "ok", "", 281)
    assert (row.source_width, row.source_height, row.source_orientation) == (451, 300, 1)
    # output = source * scale - crop, for the centre of the source and of the output
    assert 451 / 2 * row.scale_x - row.crop_x == pytest.approx(112, abs=0.6)
    assert 300 / 2 * row.scale_y - row.crop_y == pytest.approx(112, abs=0.6)


def test_a_row_names_the_sources_profile(photographs: dict[str, bytes]) -> None:
    picture = Image.open(io.BytesIO(photographs["chelsea"]))
    for profile, name in ((profiles.wide("Wide"), "Wide"), (b"damaged", "unreadable"), (None, "")):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", icc_profile=profile)
        for rendered in render(buffer.getvalue(), "reference", "pil_srgb"):
            assert rendered.row.source_profile == name
            assert "source_profile" not in rendered.row.member()  # so that tars equal those of older versions
    (unknown,) = render(b"<html>not found</html>", "reference")
    assert unknown.row.source_profile == ""


def test_residuals_are_against_the_reference_even_if_it_was_not_requested(photographs: dict[str, bytes]) -> None:
    data = photographs["chelsea"]
    alone = render(data, "pil_lanczos")[0]
    base, beside = render(data, "reference", "pil_lanczos")
    assert alone == beside
    assert base.image is not None
    assert alone.image is not None
    wide = np.abs(decode(alone.image, "png").astype(int) - decode(base.image, "png"))
    assert alone.row.residual_mean_abs == pytest.approx(wide.mean())
    assert alone.row.residual_max_abs == wide.max()
    assert (base.row.residual_max_abs, base.row.residual_changed) == (0, 0.0)


def test_variants_rendered_together_equal_those_rendered_alone(photographs: dict[str, bytes]) -> None:
    words = ("pil_lanczos", "ffmpeg", "ffmpeg+dali_cubic", "opencv", "nv12_opencv", "ffmpeg+nv12_opencv")
    for data in (photographs["rocket"], photographs["rocket"][:9000], b"", b"none"):
        together = render(data, *words)
        assert together == [render(data, word)[0] for word in words]


def test_each_stage_is_done_once(photographs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()
    load = Method.load

    def counting(self: Method) -> Callable[..., Any]:
        calls[self.token] += 1
        return load(self)

    monkeypatch.setattr(Method, "load", counting)
    render(photographs["coffee"], "nv12_opencv", "nv12_ascend", "ffmpeg+nv12_opencv", "ffmpeg", "opencv_area")
    assert calls == {
        "pil": 1,
        "ffmpeg": 1,
        "pil_bilinear": 2,
        "opencv_area": 1,
        "nv12_opencv": 2,
        "nv12_ascend": 1,
    }


def test_work_on_identical_pixels_is_done_once(photographs: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """`pil`, `opencv` and `dali` decode alike, and resizing a picture to its own size changes nothing."""
    data = io.BytesIO()
    Image.open(io.BytesIO(photographs["coffee"])).convert("RGB").resize((256, 256)).save(data, "JPEG")
    words = ("opencv", "dali", "opencv+nv12_ascend", "nv12_ascend", "pil_box+nv12_ascend", "pil_hamming")
    alone = [render(data.getvalue(), word)[0] for word in words]
    calls: Counter[str] = Counter()
    load = Method.load

    def counting(self: Method) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls[self.token] += 1
            return load(self)(*arguments)

        return call

    monkeypatch.setattr(Method, "load", counting)
    residuals = Counter[None]()
    monkeypatch.setattr(renderer, "residual", lambda *images: (residuals.update([None]), residual(*images))[1])
    assert render(data.getvalue(), *words) == alone
    once = ("pil", "opencv", "dali", "pil_bilinear", "nv12_ascend", "pil_box", "pil_hamming")
    assert calls == dict.fromkeys(once, 1)
    assert residuals[None] == 2


@pytest.mark.parametrize("token", sorted(t for t, m in ON_CPU.items() if m.stage == "decode"))
@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "the file is empty"), (b"\xff\xd8\xff\xe0 nothing", ""), (b"<html></html>", "")],
)
def test_a_failure_names_its_decoder_in_one_line(token: str, data: bytes, reason: str) -> None:
    (rendered,) = render(data, token)
    assert rendered.image is None
    assert rendered.row.status == "failed"
    assert rendered.row.error.startswith(f"{token}: {reason}")
    assert "\n" not in rendered.row.error
    assert "0x" not in rendered.row.error
    assert (rendered.row.pixel_sha256, rendered.row.width, rendered.row.residual_mean_abs) == ("", 0, None)


def test_one_decoders_failure_is_not_anothers(photographs: dict[str, bytes]) -> None:
    truncated = photographs["chelsea"][:20_000]
    pil, ffmpeg = render(truncated, "pil_lanczos", "ffmpeg")
    assert pil.row.status == "failed"
    assert pil.row.error.startswith("pil: ")
    assert ffmpeg.row.status == "ok"  # like its program, FFmpeg returns what it has
    assert ffmpeg.row.residual_mean_abs is None  # there is no reference to compare with


def test_a_decompression_bomb_is_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(bomb, "PNG")

    def fail(self: Method) -> Callable[..., Any]:
        pytest.fail(f"{self.token} was loaded")

    monkeypatch.setattr(Method, "load", fail)
    for word in ("pil", "opencv", "ffmpeg", "dali"):
        (rendered,) = render(bomb.getvalue(), word)
        assert rendered.row.error.startswith(f"{word}: refused undecoded: more than 178,956,970 pixels")


def test_missing_bytes_fail_with_the_sources_reason() -> None:
    (rendered,) = render(Missing("source: no such file"), "ffmpeg")
    assert (rendered.row.status, rendered.row.error) == ("failed", "source: no such file")


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (3000, 20), (225, 223)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 60)).save(buffer, "JPEG")
    for word in ("pil_lanczos", "opencv_area", "dali_linear", "ffmpeg_bilinear"):
        (rendered,) = render(buffer.getvalue(), word)
        assert (rendered.row.status, rendered.row.width, rendered.row.height) == ("ok", 224, 224), rendered.row.error


def test_a_sliver_that_would_fill_memory_fails_with_a_reason() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 2000)).save(buffer, "JPEG")
    (rendered,) = render(buffer.getvalue(), "opencv+pil_lanczos")
    assert rendered.row.error.startswith("opencv: 1x2000 would be resized to 256x512,000, over the limit")


def test_the_same_bytes_in_another_shape_are_another_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32), (90, 90, 90)).save(buffer, "JPEG", exif=exif)
    stored, turned = render(buffer.getvalue(), "pil", "opencv_exif", geometry="identity")
    assert stored.row.pixel_sha256 == turned.row.pixel_sha256
    assert stored.image is not None
    assert turned.image is not None
    assert decode(stored.image, "png").shape == (32, 64, 3)
    assert decode(turned.image, "png").shape == (64, 32, 3)


@pytest.mark.parametrize("token", sorted(ON_CPU))
def test_every_method_at_sizes_that_do_not_suit_vectors(token: str, photographs: dict[str, bytes]) -> None:
    data = photographs["camera"]
    for size in (227, 33, 1):
        renderer = Renderer([parse(token, reference())], reference(), "crop", (size,), "png", 0)
        (rendered,) = renderer.render(SAMPLE, data)
        assert rendered.row.status == "ok", rendered.row.error
    assert render(data, token, geometry="crop")[0].row.status == "ok"


def test_an_image_that_the_format_cannot_store_is_a_failed_sample() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (17_000, 4)).save(buffer, "JPEG")
    against = reference(resizes=False)
    (rendered,) = Renderer([against], against, "identity", (), "webp", 0).render(SAMPLE, buffer.getvalue())
    assert rendered.row.status == "failed"
    assert "exceeds WebP limit" in rendered.row.error


def test_a_rotated_image_has_no_residual_if_its_shape_differs() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 50).save(buffer, "JPEG", exif=exif)
    (turned,) = render(buffer.getvalue(), "opencv_exif", geometry="identity")
    assert (turned.row.width, turned.row.height, turned.row.source_width) == (30, 40, 40)
    assert turned.row.residual_mean_abs is None
    assert turned.row.source_orientation == 6


def test_scale_refers_to_the_rotated_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.effect_noise((400, 300), 50).save(buffer, "JPEG", exif=exif)
    stored, turned = render(buffer.getvalue(), "pil", "opencv_exif")
    assert (turned.row.source_width, turned.row.source_height) == (400, 300)
    assert (
        (turned.row.scale_x, turned.row.scale_y) == (stored.row.scale_y, stored.row.scale_x) == (256 / 300, 341 / 400)
    )


def test_geometry_is_the_same_for_all_libraries(photographs: dict[str, bytes]) -> None:
    variants: list[Variant] = [
        parse(token, reference()) for token, m in ON_CPU.items() if m.stage in ("decode", "resize")
    ]
    rows = [
        picture(rendered).row
        for rendered in Renderer(variants, reference(), "crop", (160,), "npy", 0).render(SAMPLE, photographs["china"])
    ]
    assert {(r.width, r.height, r.crop_x, r.crop_y, r.scale_x, r.scale_y) for r in rows} == {
        (160, 160, 56, 11, 272 / 640, 182 / 427)
    }


def test_headers_of_rare_formats_are_harmless() -> None:
    """Fuzzed beginnings of formats whose parsers raise all kinds of exceptions: each becomes a row."""
    rng = np.random.default_rng(0)
    starts = [
        b"\x00\x00\x00 ftypavif",
        b"DDS |\x00\x00\x00",
        b"\x8a\x01\x00\x00",
        b"II*\x00",
        b"GIF89a",
        b"BM",
        b"8BPS",
    ]
    for start in starts:
        for _ in range(20):
            (rendered,) = render(start + rng.bytes(200), "pil_lanczos")
            assert rendered.row.status == "failed"
            assert rendered.row.error.startswith("pil: ")


def test_a_pngs_header_is_read_without_decoding_it(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "PNG")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("the image was decoded"))
    found = header(buffer.getvalue())
    assert found is not None
    assert (found.width, found.height, found.orientation) == (30, 20, 1)


@pytest.mark.parametrize("token", ["pil_draft", "opencv_reduced"])
@pytest.mark.parametrize(("geometry", "size"), [("letterbox", (320,)), ("keep_ratio", (200, 333)), ("crop", (112,))])
def test_a_decoder_that_shrinks_does_not_move_boxes(token: str, geometry: str, size: tuple[int, ...]) -> None:
    picture = Image.new("RGB", (1603, 1201))
    picture.paste((255, 255, 255), (500, 320, 1100, 900))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    full, shrunk = render(buffer.getvalue(), "reference", token, geometry=geometry, size=size)
    names = ("source_width", "source_height", "width", "height", "crop_x", "crop_y", "scale_x", "scale_y")
    assert [getattr(shrunk.row, name) for name in names] == [getattr(full.row, name) for name in names]
    assert shrunk.row.pixel_sha256 != full.row.pixel_sha256
    assert shrunk.image is not None
    rows, columns = np.nonzero(decode(shrunk.image, "png")[..., 1] > 200)
    scale, crop = (shrunk.row.scale_x, shrunk.row.scale_y), (shrunk.row.crop_x, shrunk.row.crop_y)
    for found, corner, axis in ((columns.min(), 500, 0), (rows.min(), 320, 1), (columns.max() + 1, 1100, 0)):
        assert abs(found - (corner * scale[axis] - crop[axis])) <= 1.5
