from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.pixels import dali_gpu
from generators.pixels.foreign import machine
from generators.registry import AUDIO_STAGES, METHODS, PIXEL_STAGES, STAGES, Method
from generators.selection import expand
from generators.variant import GROUPS, VariantError, added, changed, in_full, name_of, parse, reference
from tests.generators.foreign.at_hand import put
from tests.methods import APART

BY_LIBRARY = {
    "tensorflow": [
        *("tf", "tf_accurate", "tf_nearest", "tf_bilinear", "tf_bicubic", "tf_lanczos3", "tf_area"),
        *("tf_bilinear_aa", "tf_bicubic_aa", "tf_lanczos3_aa", "tf1_bilinear"),
    ],
    "torch": [
        "torchvision",
        *(f"torchvision_{n}" for n in ("nearest", "bilinear", "bicubic", "bilinear_noaa", "bicubic_noaa")),
    ],
    "libvips": [
        *("vips", "vips_shrink", "vips_nearest", "vips_linear", "vips_cubic", "vips_mitchell", "vips_lanczos3"),
        "sharp_lanczos3",
    ],
    "scikit-image": ["skimage_bilinear", "skimage_bilinear_aa"],
    "browser": ["chromium", "chromium_canvas"],
}
DECODE = [
    *("pil", "opencv", "ffmpeg", "dali", "dali_gpu", "dali_gpu_fancy", "dali_fast", "opencv_exif"),
    *("tf", "tf_accurate", "torchvision", "vips", "chromium", "pil_srgb", "pil_draft", "opencv_reduced", "vips_shrink"),
]
PAPER_RESIZE = [f"pil_{n}" for n in ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]] + [
    f"opencv_{n}" for n in ["nearest", "bilinear", "area", "bicubic", "lanczos"]
]
RESIZE = [
    *PAPER_RESIZE,
    "opencv_linear_exact",
    *(f"simd_{n}" for n in ["bilinear", "bicubic", "lanczos"]),
    *(f"dali_{n}" for n in ["nearest", "linear", "cubic", "lanczos3", "triangular", "linear_aa", "gpu_linear"]),
    *(f"ffmpeg_{n}" for n in ["bilinear", "bicubic", "lanczos", "area", "spline"]),
    *(token for tokens in BY_LIBRARY.values() for token in tokens if token not in DECODE),
]
MODEL = {
    "pool": ["ceil_mode", "ceil_mode_average", "floor_mode"],
    "upsample": ["upsample_bilinear", "upsample_bilinear_corners", "upsample_nearest"],
    "precision": ["fp16", "int8", "int8_dynamic", "int8_tensor"],
    "boxes": ["box_offset", "box_offset_all", "box_round"],
}
COLOR = ["nv12_ascend", "nv12_opencv", "nv12_ffmpeg", "yuv444_float", "nv12_full"]
COLOR += ["nv12_bt709", "yuv_601_as_709", "yuv_limited_as_full"]


def tokens(stage: str, *, whole: bool = True) -> st.SearchStrategy[str | None]:
    methods = [method for method in METHODS.values() if method.stage == stage and (whole or not method.whole)]
    return st.sampled_from([None, *(method.token for method in methods)])


def names(word: str, base: str = "pil+pil_bilinear", *, resizes: bool = True) -> list[str]:
    return [variant.name for variant in expand([word], reference(base, resizes=resizes))[0]]


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


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with only the project's own environment."""
    monkeypatch.setenv("SYSNOISE_CACHE", str(tmp_path))
    monkeypatch.setattr(machine, "find", lambda package: None)


@pytest.mark.usefixtures("bare")
def test_groups() -> None:
    assert names("paper") == [
        "pil_bilinear",
        *(name for name in ("opencv", "ffmpeg", "dali", *PAPER_RESIZE, "nv12_ascend") if name != "pil_bilinear"),
    ]
    variants, skipped = expand(["all"], reference())
    pixels = {token for token, method in METHODS.items() if method.stage in PIXEL_STAGES}
    assert {m.token for v in variants for m in v.methods} | set(skipped) == pixels
    assert set(GROUPS) == {*STAGES, *AUDIO_STAGES, "paper", "model", "all", "librosa", *BY_LIBRARY}
    assert names("color,decode")[:2] == ["nv12_ascend", "nv12_opencv"]


@pytest.mark.usefixtures("bare")
def test_only_groups_of_libraries_include_missing_ones(tmp_path: Path) -> None:
    for group, tokens in BY_LIBRARY.items():
        if group != "browser":
            assert sorted(names(group)) == sorted(tokens)
        left_out = expand(["resize,decode"], reference())[1]
        assert set(tokens) <= left_out.keys()
    assert "TensorFlow is not installed here: --variant tensorflow installs it" in left_out["tf_area"]
    with pytest.raises(
        VariantError, match="chromium_canvas cannot run here: chromium is not installed on this machine"
    ):
        names("chromium_canvas")
    put(tmp_path, "tensorflow-cpu-2.21.0")
    variants, left_out = expand(["all"], reference())
    assert set(BY_LIBRARY["tensorflow"]) <= {variant.name for variant in variants}
    assert not left_out.keys() & set(BY_LIBRARY["tensorflow"])


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


def versions(*found: str) -> Callable[[Method], Sequence[str]]:
    return lambda method: found


def test_a_star_stands_for_several_versions() -> None:
    def names_of(*words: str) -> list[str]:
        found, _ = expand(words, reference("pil-6.2.1"), model=True, versions=versions("6.2.1", "13.0.0"))
        return [variant.name for variant in found]

    assert names_of("pil_box-*") == ["pil_box-6.2.1", "pil_box-13.0.0"]
    assert names_of("pil_box-*+opencv , fp16+pil-*") == [
        *("opencv+pil_box-6.2.1", "opencv+pil_box-13.0.0"),
        *("fp16", "pil-13.0.0+fp16"),
    ]
    assert names_of("opencv-*", "opencv-6.2.1") == ["opencv-6.2.1", "opencv-13.0.0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pil-*+pil_box-*", r"has \* twice: name the version of pil-\* or of pil_box-\*"),
        ("nv12_ascend-*", "nv12_ascend has only one version"),
        ("int8-*", "int8 has only one version"),
        ("pil_bx-*", r"unknown method 'pil_bx-\*'.* pil_box"),
        ("pil_*", r"unknown method 'pil_\*'"),
        ("pil_box-13.*", "'13.*' is not a version"),
        ("pil_box-6.2.1-*", "unknown method"),
        ("*", r"unknown method '\*'"),
        ("paper-*", r"unknown method 'paper-\*'"),
    ],
)
def test_an_invalid_star_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(VariantError, match=message) as caught:
        expand([text], reference(), model=True, versions=versions("1.0"))
    assert "\n" not in str(caught.value)


def test_a_reference_has_one_version() -> None:
    with pytest.raises(VariantError, match="several versions, which only --variant takes"):
        reference("pil_box-*")


def test_a_group_may_name_versions() -> None:
    decoders = ["opencv-4.5.5.64", "ffmpeg", "dali"]
    assert names("paper:pil-6.2.1:opencv_area-4.5.5.64", "pil-6.2.1+pil_bilinear-6.2.1") == [
        "pil_bilinear-6.2.1",
        *decoders,
        *(f"pil_{n}-6.2.1" for n in ("nearest", "box", "hamming", "bicubic", "lanczos")),
        *(f"opencv_{n}-4.5.5.64" for n in ("nearest", "bilinear", "area", "bicubic", "lanczos")),
        "nv12_ascend",
    ]
    plain, some = names("all"), names("all:ffmpeg-17.1.0")
    assert [name.removesuffix("-17.1.0") for name in some] == plain
    assert {name for name in some if name.endswith("-17.1.0")} == {
        f"{token}-17.1.0" for token, method in METHODS.items() if method.library.name == "FFmpeg"
    }
    assert names("paper:pil-6.2.1", "pil-6.2.1", resizes=False)[:2] == ["pil-6.2.1", "opencv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resize:pil", "names no version of Pillow: write pil-VERSION"),
        ("resize:pil-6.2.1:pil_box-12.3.0", "two versions of Pillow"),
        ("resize:pill-6.2.1", "unknown method 'pill-6.2.1'"),
        ("resize:pil-*", "several versions"),
        ("resize:", "unknown method ''"),
        ("color:pil-6.2.1", "has no method of Pillow: leave that version out"),
        ("model:pil-6.2.1", "has no method of Pillow"),
        ("pil_box:pil-6.2.1", "unknown method"),
    ],
)
def test_versions_that_fit_no_group_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(VariantError, match=message) as caught:
        expand([text], reference(), model=True)
    assert "\n" not in str(caught.value)


def test_methods_that_cannot_run_are_left_out_of_groups_with_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "generators.pixels.dali", raising=False)
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    found, skipped = expand(["decode:opencv-4.5.5.64"], reference(), gpu=True)
    assert "opencv-4.5.5.64" in [variant.name for variant in found]
    assert {"dali", "dali_fast"} <= skipped.keys()


def test_a_resize_is_refused_with_the_identity_geometry() -> None:
    with pytest.raises(VariantError, match="identity geometry does not resize"):
        names("pil_box", resizes=False)
    with pytest.raises(VariantError, match="identity geometry does not resize"):
        names("resize", resizes=False)


def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "generators.pixels.dali", raising=False)
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(VariantError, match=r"DALI cannot be imported .*: pip install nvidia-dali"):
        names("dali")
    assert names("paper")[1:4] == ["opencv", "ffmpeg", "pil_nearest"]


def with_model(word: str) -> list[str]:
    return [variant.name for variant in expand([word], reference(), model=True)[0]]


def test_with_a_model_groups_include_its_noise() -> None:
    noise = ["ceil_mode", "upsample_bilinear", "fp16", "int8", "box_offset"]
    assert with_model("paper") == [*names("paper"), *noise]
    assert sorted(with_model("model")) == sorted(token for tokens in MODEL.values() for token in tokens)
    assert with_model("all") == [*names("all"), *with_model("model")]
    assert sorted(with_model("precision,boxes")) == sorted([*MODEL["precision"], *MODEL["boxes"]])


@pytest.mark.parametrize("text", ["ceil_mode", "model", "boxes", "opencv+int8"])
def test_model_noise_is_refused_without_a_model(text: str) -> None:
    with pytest.raises(VariantError, match="give --model FILE"):
        names(text)


def test_a_reference_has_no_model_noise() -> None:
    with pytest.raises(VariantError, match="fp16 cannot be in a reference"):
        reference("opencv+fp16")


def test_a_variant_knows_the_pixels_it_needs() -> None:
    def pixels(text: str) -> str:
        return parse(text, reference()).pixels

    assert pixels("opencv_nearest+nv12_ascend+ceil_mode+int8") == "opencv_nearest+nv12_ascend"
    assert pixels("ceil_mode+box_offset") == pixels("pil_bilinear") == "pil_bilinear"
    assert [m.token for m in parse("int8+ceil_mode+box_round+ffmpeg", reference()).model] == ["ceil_mode", "int8"]


GPU = {"dali_gpu", "dali_gpu_fancy", "dali_gpu_linear"}


@pytest.mark.usefixtures("bare")
def test_without_a_gpu_its_methods_are_refused_by_name_and_left_out_of_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali_gpu, "gpu_problem", lambda: "CUDA shows none")
    for text in (*GPU, "dali_gpu+pil_box"):
        with pytest.raises(
            VariantError, match=r"dali_gpu.* cannot run here: needs an NVIDIA GPU.*CUDA shows none"
        ) as at:
            names(text)
        assert len(str(at.value).splitlines()) == 1
        assert f"use {'dali_linear' if text == 'dali_gpu_linear' else 'dali'} (on the CPU)" in str(at.value)
    variants, skipped = expand(["all"], reference())
    assert skipped.keys() == GPU | APART.keys()
    assert not any(variant.gpu for variant in variants)


@pytest.mark.usefixtures("bare")
def test_with_a_gpu_somewhere_its_methods_are_in_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali_gpu, "gpu_problem", lambda: pytest.fail("this machine was looked at"))
    variants, skipped = expand(["all"], reference(), gpu=True)
    assert skipped.keys() == APART.keys()
    assert {variant.name for variant in variants if variant.gpu} == GPU
    with pytest.raises(VariantError, match="the cluster has none"):
        expand(["dali_gpu"], reference(), gpu=False)


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
