"""`--paper`: the options that it stands for, in `generate.py` and in `score.py`, and which OpenCV it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import generate as generate_entry
import score as score_entry
from generators.registry import Library, UnavailableError
from pipelines.command import options_of
from pipelines.errors import UsageError
from pipelines.evaluate import paper as scoring
from pipelines.evaluate.options import Options as ScoreOptions
from pipelines.generate.options import Options
from pipelines.generate.paper import paper
from pipelines.shards import FinishedVariant, Shards
from pipelines.store import Disk
from tests.conftest import Command

LONG = (
    *("--variant", "paper:pil-6.2.1:opencv-4.1.1.26", "--reference", "pil-6.2.1+pil_bilinear-6.2.1"),
    *("--geometry", "squash"),
)


@pytest.fixture
def nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every version is available."""
    monkeypatch.setattr(Library, "nearest", lambda library, version: version)


def options(*words: str) -> Options:
    return options_of(generate_entry._parser().parse_args(words), Options)


def score_options(*words: str) -> ScoreOptions:
    parser = score_entry._parser()
    return options_of(parser.parse_args(["--shards", "out/imagenet", "--model", "m.onnx", *words]), ScoreOptions)


@pytest.mark.parametrize(
    ("dataset", "geometry"),
    [("sample", "squash"), ("imagenet", "squash"), ("coco", "keep_ratio"), ("cityscapes", "identity")],
)
def test_it_stands_for_a_longer_command_line(dataset: str, geometry: str, nearest: None) -> None:
    beside = ("--dataset", dataset, "--source", "val", "--limit", "5", "--output", "there")
    long = [geometry if word == "squash" else word for word in LONG]
    assert paper(options("--paper", *beside)) == options(*long, *beside)
    assert scoring.paper(score_options("--paper", *beside)) == score_options(*long, *beside)


@pytest.mark.parametrize("entry", [generate_entry, score_entry])
@pytest.mark.parametrize(
    "words",
    [["--variant", "pil_box"], ["--reference", "pil+pil_bilinear"], ["--ref", "pil"], ["--geometry=crop"]],
)
def test_flags_that_it_sets_are_refused_with_it(
    entry: Any, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    needed = ["--shards", "s", "--model", "m", "--source", "val"] if entry is score_entry else []
    with pytest.raises(SystemExit) as stopped:
        entry.main([*needed, "--paper", *words])
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert "--paper sets --variant, --reference and --geometry: leave --" in line


def test_a_different_opencv_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Library, "nearest", lambda library, version: "4.5.5.64")
    assert paper(options("--paper")).variants == ("paper:pil-6.2.1:opencv-4.5.5.64",)
    assert "OpenCV 4.1.1.26 is not available here: using 4.5.5.64" in capsys.readouterr().err


def test_an_unavailable_opencv_gives_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(library: Library, version: str) -> str:
        raise UnavailableError("the index is gone: name a version")

    monkeypatch.setattr(Library, "nearest", none)
    with pytest.raises(UsageError, match=r"^--paper needs OpenCV 4.1.1.26 or a later one: the index is gone"):
        paper(options("--paper"))


def shards_of(monkeypatch: pytest.MonkeyPatch, *resizes: str, **config: str) -> None:
    """Let these shards exist: one variant for each resize method."""
    base = {"decode": "pil-6.2.1", "resize": "pil_bilinear-6.2.1", "color": "none"}
    whole = {
        "dataset": "imagenet",
        "geometry": "squash",
        "size": 224,
        "reference": "pil-6.2.1+pil_bilinear-6.2.1",
    } | config
    found = [
        FinishedVariant(name, Disk("out/imagenet") / name, {"config": whole, "variant": {**base, "resize": name}})
        for name in ("pil_bilinear-6.2.1", *resizes)
    ]
    shards = Shards(Disk("out/imagenet"), found[0], {variant.name: variant for variant in found}, ())
    monkeypatch.setattr(scoring, "open_shards", lambda place: shards)


def test_existing_shards_are_scored_with_their_own_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Library, "nearest", lambda *_: pytest.fail("it looked for available versions"))
    shards_of(monkeypatch, "pil_box-6.2.1", "opencv_area-4.5.5.64")
    assert scoring.paper(score_options("--paper")).variants == ("paper:pil-6.2.1:opencv-4.5.5.64",)
    shards_of(monkeypatch, "pil_box-6.2.1", "opencv_area")
    assert scoring.paper(score_options("--paper")).variants == ("paper:pil-6.2.1",)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"reference": "pil+pil_bilinear"},
            r"the reference of the shards in .* is pil\+pil_bilinear, but the paper's is pil-6.2.1",
        ),
        ({"geometry": "crop"}, "the geometry of the shards in .* is crop, but the paper's is squash"),
        ({"dataset": "coco"}, "the geometry of the shards in .* is squash, but the paper's is keep_ratio"),
    ],
)
def test_shards_that_are_not_the_paper_s_are_refused(
    config: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards_of(monkeypatch, **config)
    with pytest.raises(UsageError, match=message):
        scoring.paper(score_options("--paper"))


def test_the_paper_s_sample_is_made(generate: Command, tmp_path: Path) -> None:
    done = generate("--paper", "--limit", 2, "--output", tmp_path)
    made = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("sample/*/manifest.json")}
    config = made["pil_bilinear-6.2.1"]["config"]
    assert (config["geometry"], config["size"], config["reference"]) == ("squash", 224, "pil-6.2.1+pil_bilinear-6.2.1")
    opencv = next(name for name in made if name.startswith("opencv_area-"))
    assert {name.partition("-")[0] for name in made} == {
        *("pil_bilinear", "opencv", "ffmpeg", "dali", "nv12_ascend"),
        *(f"pil_{name}" for name in ("nearest", "box", "hamming", "bicubic", "lanczos")),
        *(f"opencv_{name}" for name in ("nearest", "bilinear", "area", "bicubic", "lanczos")),
    }
    assert f"{opencv} " in done.stdout
    assert made["pil_box-6.2.1"]["provenance"]["libraries"]["Pillow-6.2.1"] == "6.2.1"
    assert made["pil_box-6.2.1"]["residual"]["changed"] > 0
