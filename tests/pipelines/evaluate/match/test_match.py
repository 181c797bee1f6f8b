"""`score.py match`: it finds every variant from a dump in any form, and says how sure that is."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.evaluate.match import match, run
from pipelines.evaluate.match.measure import Group, Measured
from pipelines.evaluate.match.rank import rank
from pipelines.evaluate.options import MatchOptions
from pipelines.shards import open_shards
from tests.pipelines.evaluate.match.dumps import (
    BROKEN,
    FLAT,
    TURNED,
    VARIANTS,
    Images,
    as_bgr,
    as_caffe,
    as_float16,
    as_float32,
    as_png,
    composed,
    shown,
    write_npy,
)


@pytest.mark.parametrize("form", [as_png, as_bgr, as_float32, as_float16, as_caffe])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variants_own_dump_ranks_it_first(
    variant: str,
    form: Callable[[Path, Images], MatchOptions],
    root: Path,
    stored: dict[str, Images],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = replace(form(tmp_path / "dump", stored[variant]), shards=str(root))
    assert match(options) == 0
    text = capsys.readouterr().out
    first = text.splitlines()[0]
    twins = "`pil_bilinear` = `opencv`" if variant in ("pil_bilinear", "opencv") else f"`{variant}`"
    assert first == f"Your device matches {twins} exactly: every pixel of 11 images."
    assert variant in shown(text)[0][0].split(" = ")
    stage = {"ffmpeg": "decode", "nv12_ascend": "color", "pil_lanczos": "resize", "opencv_area": "resize"}.get(variant)
    expected = f": {stage}." if stage else "No stage differs from the reference (`pil_bilinear`)."
    assert text.splitlines()[1 if stage else 2].endswith(expected)
    assert "Note:" not in text


def test_variants_with_equal_pixels_are_tied(
    root: Path, stored: dict[str, Images], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    match(replace(as_png(tmp_path / "all", stored["opencv"]), shards=str(root)))
    text = capsys.readouterr().out
    assert "`pil_bilinear` and `opencv` are tied: they have the same pixels on all samples of the shards." in text
    match(replace(as_png(tmp_path / "flat", {FLAT: stored["pil_lanczos"][FLAT]}), shards=str(root)))
    text = capsys.readouterr().out
    tied = re.search(r"^(.*) are tied: they have the same pixels on these images, but not on all", text, re.MULTILINE)
    assert tied
    same = [variant for variant in VARIANTS if np.array_equal(stored[variant][FLAT], stored["pil_lanczos"][FLAT])]
    assert {"pil_bilinear", "pil_lanczos"} < set(same)
    assert sorted(re.findall("`(.+?)`", tied[1])) == sorted(same)
    assert "No stage differs from the reference" in text


def test_distances_are_those_of_opencv(
    root: Path, stored: dict[str, Images], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    dump = {
        key: np.clip(image + random.integers(-9, 10, image.shape), 0, 255).astype(np.uint8)
        for key, image in stored["pil_lanczos"].items()
    }
    match(replace(as_png(tmp_path / "dump", dump), shards=str(root)))
    found = {name.split(" = ")[0]: (mean, peak) for name, mean, peak in shown(capsys.readouterr().out)}
    assert set(found) == set(VARIANTS) - {"opencv"}
    for variant, (mean, peak) in found.items():
        differences = [cv2.absdiff(dump[key], np.ascontiguousarray(stored[variant][key])) for key in dump]
        assert mean == pytest.approx(np.mean([one.mean() for one in differences]), abs=0.0051)
        assert peak == max(one.max() for one in differences)


def test_the_answer_does_not_depend_on_order_or_on_other_files(
    root: Path, stored: dict[str, Images], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    match(replace(as_bgr(tmp_path / "plain", stored["ffmpeg"]), shards=str(root)))
    plain = capsys.readouterr().out
    options = replace(as_bgr(tmp_path / "mixed", dict(reversed(stored["ffmpeg"].items()))), shards=str(root))
    assert options.dump
    for name in ("a.png", "log.txt", "zebra.npy", ".DS_Store"):
        (options.dump / name).write_bytes(b"useless")
    match(options)
    mixed = capsys.readouterr().out
    assert mixed == plain + (
        "\nNote: skipped 4 files not named by a key of the shards (.DS_Store, a.png, log.txt, …).\n"
    )


@pytest.mark.parametrize(
    "methods",
    [
        ("ffmpeg", "opencv_area", None),
        ("ffmpeg", "pil_lanczos", None),
        ("pil", "pil_lanczos", "nv12_ascend"),
        ("ffmpeg", "opencv_area", "nv12_ascend"),
    ],
)
def test_a_composition_that_the_shards_lack_is_named(
    methods: tuple[str, str, str | None],
    root: Path,
    sources: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    match(replace(as_png(tmp_path / "dump", composed(sources, *methods)), shards=str(root)))
    text = capsys.readouterr().out
    made = "+".join(token for token in methods if token not in (None, "pil"))
    named = re.match(r"No variant matches. It may be `(\S+)`, which is not in the shards", text)
    asked = re.search(r"generate\.py --variant (\S+) .* --output (\S+)$", text, re.MULTILINE)
    assert named
    assert asked
    # NV12 may hide the decoder's small difference, but the decoder must be among the suggestions.
    assert made.endswith(named[1])
    assert made in asked[1].split(",")
    assert Path(asked[2]) == root.parent


def test_an_unknown_method_is_near_and_its_stage_is_suggested(
    root: Path, sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    match(replace(as_png(tmp_path / "dump", composed(sources, "pil", "ffmpeg_lanczos", None)), shards=str(root)))
    text = capsys.readouterr().out
    assert text.startswith("Nearest: `pil_lanczos` (mean |Δ| ")
    assert "First stage that differs from the reference (`pil_bilinear`): resize." in text
    assert "generate.py --variant 'resize,pil_lanczos-*' " in text


def test_a_compressed_dump_is_near_no_variant(
    root: Path, stored: dict[str, Images], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = {}
    for key, image in stored["pil_lanczos"].items():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=75)
        dump[key] = np.asarray(Image.open(buffer))
    match(replace(as_png(tmp_path / "dump", dump), shards=str(root)))
    text = capsys.readouterr().out
    assert text.startswith("No variant is near: the nearest, ")
    assert "The first stage that differs is unknown" in text


@pytest.mark.parametrize(
    ("count", "doubt"),
    [
        (1, "How sure: unknown from a single image: dump 10 or more."),
        (
            3,
            " of the 3 images; a variant that differs first at resize, in 100%. A method that is not among them could "
            "be nearer. These are few images: dump 10 or more.",
        ),
    ],
)
def test_few_images_are_answered_with_doubt(
    count: int,
    doubt: str,
    root: Path,
    sources: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = composed(sources, "pil", "ffmpeg_lanczos", None)
    few = {key: images[key] for key in ("chelsea", "china", "astronaut")[:count]}
    match(replace(as_png(tmp_path / "dump", few), shards=str(root)))
    assert doubt in capsys.readouterr().out


def test_the_share_of_resamples_is_that_of_a_bootstrap(root: Path) -> None:
    names = ("pil_bilinear", "ffmpeg")
    mean = np.array([[0.0, 1.0], [1.0, 0.5]])
    groups = tuple(Group((name,), {}) for name in names)
    measured = Measured(groups, ("a", "b"), mean, np.ones((2, 2), np.int64), np.zeros((2, 3, 3)), 1.0, 1.0)
    places = rank(open_shards(root), measured, 0).places
    assert [place.names for place in places] == [("pil_bilinear",), ("ffmpeg",)]
    # Of the four equally likely draws of two images, only the one with the second image twice prefers ffmpeg.
    assert [place.first for place in places] == pytest.approx([0.75, 0.25], abs=0.03)
    assert [place.nearest for place in places] == [0.5, 0.5]


def test_a_device_that_rotates_images_is_noticed(
    root: Path, stored: dict[str, Images], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = stored["pil_lanczos"] | {TURNED: np.rot90(stored["pil_lanczos"][TURNED], -1)}
    match(replace(as_png(tmp_path / "dump", dump), shards=str(root)))
    text = capsys.readouterr().out
    assert "Note: the images that differ are exactly those that EXIF says to rotate (1)" in text
    assert text.endswith("make the variant opencv_exif.\n")


def test_files_that_are_left_out_are_counted(
    root: Path,
    stored: dict[str, Images],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dump = stored["ffmpeg"] | {BROKEN: stored["ffmpeg"]["china"], "china": np.zeros((100, 80, 3), np.uint8)}
    match(replace(as_png(tmp_path / "dump", dump), shards=str(root)))
    text = capsys.readouterr().out
    assert text.startswith("Your device matches `ffmpeg` exactly: every pixel of 10 images.")
    assert "\nIt decodes like FFmpeg.\n" in text
    assert "Note: left out 1 file: the sample failed in a variant of the shards." in text
    assert "Note: left out 1 file: no variant has that size (china.png)." in text
    monkeypatch.setattr(run, "_MOST", 4)
    match(replace(as_png(tmp_path / "again", stored["ffmpeg"]), shards=str(root)))
    text = capsys.readouterr().out
    assert "every pixel of 4 images" in text
    assert "Note: 4 of 11 images were compared, evenly spread." in text


def test_values_between_integers_are_noticed(
    root: Path, stored: dict[str, Images], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    dump = {key: image + random.uniform(-0.4, 0.4, image.shape) for key, image in stored["ffmpeg"].items()}
    match(MatchOptions(str(root), write_npy(tmp_path / "dump", dump)))
    assert "Note: the dump's values are 0.20 from integers on average" in capsys.readouterr().out


def test_a_stated_layout_is_used(
    root: Path, stored: dict[str, Images], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = write_npy(tmp_path / "dump", {key: image.transpose(2, 0, 1) for key, image in stored["ffmpeg"].items()})
    assert match(MatchOptions(str(root), dump, layout="chw")) == 0
    assert capsys.readouterr().out.startswith("Your device matches `ffmpeg` exactly")
