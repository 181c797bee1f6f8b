"""What a variant's text stands for, and its canonical name."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.registry import METHODS, STAGES
from generators.variant import VariantError, added, changed, in_full, name_of, parse, reference
from tests.generators.documented import BY_LIBRARY, MODEL, PAPER_RESIZE, names, tokens

DECODE = [
    *("pil", "opencv", "ffmpeg", "dali", "dali_gpu", "dali_gpu_fancy", "dali_fast", "opencv_exif"),
    *("tf", "tf_accurate", "torchvision", "vips", "chromium", "pil_srgb", "pil_draft", "opencv_reduced", "vips_shrink"),
]
RESIZE = [
    *PAPER_RESIZE,
    "opencv_linear_exact",
    *(f"simd_{n}" for n in ["bilinear", "bicubic", "lanczos"]),
    *(f"dali_{n}" for n in ["nearest", "linear", "cubic", "lanczos3", "triangular", "linear_aa", "gpu_linear"]),
    *(f"ffmpeg_{n}" for n in ["bilinear", "bicubic", "lanczos", "area", "spline"]),
    *(token for tokens in BY_LIBRARY.values() for token in tokens if token not in DECODE),
]
COLOR = ["nv12_ascend", "nv12_opencv", "nv12_ffmpeg", "yuv444_float", "nv12_full"]
COLOR += ["nv12_bt709", "yuv_601_as_709", "yuv_limited_as_full"]


def test_the_registry_has_the_documented_tokens() -> None:
    by_stage = {stage: [token for token, method in METHODS.items() if method.stage == stage] for stage in STAGES}
    assert {stage: sorted(found) for stage, found in by_stage.items()} == {
        **MODEL,
        "decode": sorted(DECODE),
        "resize": sorted(RESIZE),
        "color": sorted(COLOR),
    }


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pil+pil_lanczos", "pil_lanczos"),
        ("opencv+pil_bilinear", "opencv"),
        ("pil", "pil_bilinear"),
        ("pil_bilinear", "pil_bilinear"),
        ("reference", "pil_bilinear"),
        ("ffmpeg+opencv_area+nv12_ascend", "ffmpeg+opencv_area+nv12_ascend"),
        ("nv12_ascend+ffmpeg", "ffmpeg+nv12_ascend"),
        ("int8+ceil_mode+opencv_nearest+nv12_ascend", "opencv_nearest+nv12_ascend+ceil_mode+int8"),
        ("box_round+fp16+upsample_nearest+floor_mode", "floor_mode+upsample_nearest+fp16+box_round"),
        ("pil+ceil_mode", "ceil_mode"),
    ],
)
def test_canonical_names(text: str, name: str) -> None:
    assert parse(text, reference()).name == name


def test_without_resize_the_reference_is_named_by_its_decoder() -> None:
    assert names("reference", resizes=False) == ["pil"]
    assert names("paper", resizes=False) == ["pil", "opencv", "ffmpeg", "dali", "nv12_ascend"]


def test_names_depend_on_the_reference() -> None:
    assert names("pil", "opencv+opencv_area") == ["pil"]
    assert names("opencv_area", "opencv+opencv_area") == ["opencv_area"]
    assert names("opencv", "opencv+opencv_area") == ["opencv_area"]


@given(st.tuples(*map(tokens, STAGES)), tokens("decode"), tokens("resize", whole=False))
def test_a_name_stands_for_its_variant(
    chosen: tuple[str | None, ...], base_decode: str | None, base_resize: str | None
) -> None:
    base = reference("+".join(filter(None, (base_decode, base_resize))) or "pil")
    decode, resize, *others = chosen
    decode = None if resize and METHODS[resize].whole else decode
    text = "+".join(filter(None, (decode, resize, *others))) or "reference"
    variant = parse(text, base)
    assert parse(variant.name, base) == variant
    noise = (token for token in variant.noise_spelled_out.values() if token != "none")
    assert parse("+".join([in_full(variant.spelled_out), *noise]), base) == variant


def test_different_variants_have_different_names() -> None:
    decodes, resizes, colors = ([t for t, m in METHODS.items() if m.stage == s] for s in ("decode", "resize", "color"))
    every = {
        parse("+".join(filter(None, parts)), reference())
        for parts in itertools.product(decodes, resizes, [*colors, None])
        if not METHODS[parts[1]].whole
    }
    assert len({variant.name for variant in every}) == len(every)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pil_lancsoz", "pil_lanczos"),
        ("pil+opencv", "two decode methods, pil and opencv"),
        ("pil_box+pil_bilinear", "two resize methods"),
        ("", "unknown method ''"),
        ("ffmpeg+paper", "paper cannot be joined with"),
        ("PIL", "unknown method 'PIL'"),
    ],
)
def test_invalid_variants_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(VariantError, match=message) as caught:
        parse(text, reference())
    assert "\n" not in str(caught.value)


def test_a_reference_has_one_version() -> None:
    with pytest.raises(VariantError, match="several versions, which only --variant takes"):
        reference("pil_box-*")


def test_a_resize_is_refused_with_the_identity_geometry() -> None:
    with pytest.raises(VariantError, match="identity geometry does not resize"):
        names("pil_box", resizes=False)
    with pytest.raises(VariantError, match="identity geometry does not resize"):
        names("resize", resizes=False)


def test_a_reference_has_no_model_noise() -> None:
    with pytest.raises(VariantError, match="fp16 cannot be in a reference"):
        reference("opencv+fp16")


def test_a_variant_knows_the_pixels_it_needs() -> None:
    def pixels(text: str) -> str:
        return parse(text, reference()).pixels

    assert pixels("opencv_nearest+nv12_ascend+ceil_mode+int8") == "opencv_nearest+nv12_ascend"
    assert pixels("ceil_mode+box_offset") == pixels("pil_bilinear") == "pil_bilinear"
    assert [m.token for m in parse("int8+ceil_mode+box_round+ffmpeg", reference()).model] == ["ceil_mode", "int8"]


def test_gpu_methods_name_a_cpu_method_instead() -> None:
    for method in METHODS.values():
        assert method.gpu == bool(method.instead)
        if method.gpu:
            assert (METHODS[method.instead].stage, METHODS[method.instead].gpu) == (method.stage, False)


SHARP = "sharp_lanczos3"


def test_a_method_that_decodes_and_resizes_is_named_once() -> None:
    base = reference()
    for text, name in (
        (SHARP, SHARP),
        (f"{SHARP}-0.34.5", f"{SHARP}-0.34.5"),
        (f"{SHARP}+nv12_ascend", f"{SHARP}+nv12_ascend"),
        (f"int8+{SHARP}", f"{SHARP}+int8"),
    ):
        variant = parse(text, base)
        assert variant.decode is variant.resize
        assert (variant.name, variant.methods.count(variant.decode)) == (name, 1)
        token = variant.decode.token
        assert (variant.spelled_out["decode"], variant.spelled_out["resize"]) == (token, token)
        assert parse(variant.name, base) == variant
        assert parse(in_full(variant.spelled_out), base).pixels == variant.pixels
        stages = {**variant.spelled_out, **variant.noise_spelled_out}
        assert name_of(stages, base.spelled_out) == variant.name


def test_a_method_that_decodes_and_resizes_counts_as_a_resize() -> None:
    base = reference("opencv+opencv_area").spelled_out
    stages = parse(f"{SHARP}+nv12_ascend", reference("opencv+opencv_area")).spelled_out
    assert changed(stages, base) == ("resize", "color")
    assert added(base, "resize", SHARP) == {**base, "decode": SHARP, "resize": SHARP}
    assert added(base, "resize", "pil_box") == {**base, "resize": "pil_box"}
    assert changed({**base, "decode": "pil"}, base) == ("decode",)
    # Without a resize there is no such method, and a decoder is just a decoder.
    identity = reference(resizes=False).spelled_out
    assert changed({**identity, "decode": "ffmpeg"}, identity) == ("decode",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"ffmpeg+{SHARP}", f"variant 'ffmpeg+{SHARP}' names ffmpeg, but {SHARP} decodes too: leave one of them"),
        (f"{SHARP}-0.34.5+pil", f"names pil, but {SHARP}-0.34.5 decodes too"),
        (f"pil_box+{SHARP}", f"names two resize methods, pil_box and {SHARP}"),
    ],
)
def test_a_second_decoder_is_refused(text: str, said: str) -> None:
    with pytest.raises(VariantError, match=re.escape(said)) as at:
        parse(text, reference())
    assert "\n" not in str(at.value)


def test_a_method_that_decodes_and_resizes_is_refused_as_reference_and_without_a_resize() -> None:
    with pytest.raises(VariantError, match=f"^{SHARP} decodes and resizes in one step, .*: choose another reference$"):
        reference(SHARP)
    assert reference(SHARP, resizes=False) == reference(resizes=False)
    with pytest.raises(VariantError, match="the identity geometry does not resize"):
        parse(SHARP, reference(resizes=False))
    assert SHARP not in names("libvips", resizes=False)
