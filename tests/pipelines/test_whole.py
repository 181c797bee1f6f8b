"""A set with a method that decodes and resizes in one: made, verified and matched, with its stages in the manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from generators.geometry import frame
from generators.registry import METHODS, Release, UnavailableError
from pipelines.evaluate.match import match
from pipelines.evaluate.options import MatchOptions
from tests.conftest import Command, Once

SHARP = METHODS["sharp_lanczos3"]
VARIANTS = ("reference", "ffmpeg", "pil_lanczos", "sharp_lanczos3", "sharp_lanczos3+nv12_ascend")


@pytest.fixture(scope="module")
def root(photographs: Mapping[str, bytes], once: Once, generate: Command) -> Path:
    """A folder with the photographs and their shards."""
    assert isinstance(SHARP.library, Release)
    try:
        SHARP.library.prepare()
    except UnavailableError as error:
        pytest.skip(str(error))

    def make(folder: Path) -> None:
        (folder / "source" / "n02123045").mkdir(parents=True)
        for key, data in photographs.items():
            (folder / "source" / "n02123045" / f"{key}.JPEG").write_bytes(data)
        words = ("--variant", ",".join(VARIANTS), "--dataset", "imagenet", "--source", folder / "source")
        generate(*words, "--output", folder / "out")

    return once("whole", make)


def composed(photographs: Mapping[str, bytes], folder: Path, decode: str, resize: str) -> Path:
    """The dump of a device with these methods, made by calling them."""
    folder.mkdir()
    for key, data in photographs.items():
        image = METHODS[decode].load()(data)
        target = frame("crop", image.shape[1], image.shape[0], (224,))
        assert target.resize
        method = METHODS[resize]
        resized = method.load()(data if method.whole else image, *target.resize)
        Image.fromarray(target.cut(resized)).save(folder / f"{key}.png")
    return folder


def test_its_stages_are_spelled_out_and_its_frame_is_the_reference_s(root: Path) -> None:
    folder = root / "out" / "imagenet"
    columns = ["key", "width", "height", "crop_x", "crop_y", "scale_x", "scale_y", "source_width", "source_height"]
    frames = []
    for name in ("pil_bilinear", "sharp_lanczos3", "sharp_lanczos3+nv12_ascend"):
        about = json.loads((folder / name / "manifest.json").read_text())
        token = name.partition("+")[0]
        decode = "pil" if name == "pil_bilinear" else token
        color = "nv12_ascend" if "+" in name else "none"
        assert about["variant"] == {"decode": decode, "resize": token, "color": color}
        assert ("sharp/libvips" in about["provenance"]["libraries"]) == (decode != "pil")
        assert "://" not in json.dumps(about["provenance"])
        frames.append(pq.read_table(folder / name / "manifest.parquet").select(columns).to_pylist())
    assert frames[0] == frames[1] == frames[2]


def test_its_pixels_can_be_rendered_again(root: Path, command: Command) -> None:
    done = command("verify.py", root / "out", "--render", "--source", root / "source")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rendered again" in done.stdout


def test_a_device_that_uses_it_is_found(
    root: Path, photographs: Mapping[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = composed(photographs, tmp_path / "dump", "pil", "sharp_lanczos3")
    match(MatchOptions(str(root / "out" / "imagenet"), dump))
    text = capsys.readouterr().out
    assert text.startswith("Your device matches `sharp_lanczos3` exactly")
    assert "First stage that differs from the reference (`pil_bilinear`): resize." in text


def test_no_decoder_is_combined_with_it(
    root: Path, photographs: Mapping[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dump is the sum of the differences of `ffmpeg` and of sharp, which no device can have."""
    dump = tmp_path / "dump"
    dump.mkdir()
    for key, data in photographs.items():
        image = METHODS["pil"].load()(data)
        target = frame("crop", image.shape[1], image.shape[0], (224,))
        assert target.resize
        size = target.resize
        plain, decoded = (METHODS["pil_bilinear"].load()(METHODS[by].load()(data), *size) for by in ("pil", "ffmpeg"))
        added = SHARP.load()(data, *size).astype(np.int16) + decoded - plain
        Image.fromarray(target.cut(added.clip(0, 255).astype(np.uint8))).save(dump / f"{key}.png")
    match(MatchOptions(str(root / "out" / "imagenet"), dump))
    text = capsys.readouterr().out
    assert not re.search(r"ffmpeg\+sharp", text)
    assert "`sharp_lanczos3`" in text
