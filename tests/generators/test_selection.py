"""Groups, lists and versions after `--variant`, and what is left out of them or refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from generators.pixels import dali_gpu
from generators.pixels.foreign import machine
from generators.registry import AUDIO_STAGES, METHODS, PIXEL_STAGES, STAGES, Method
from generators.selection import expand
from generators.variant import GROUPS, VariantError, reference
from tests.generators.documented import BY_LIBRARY, MODEL, PAPER_RESIZE, names
from tests.generators.foreign.at_hand import put
from tests.methods import APART


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
