"""The README: what it shows is what is printed, and its picture is the one that the code draws."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from docs import picture
from manifests.provenance import cpu
from pipelines.evaluate.match import match
from pipelines.evaluate.options import MatchOptions
from pipelines.evaluate.statistics import paired_proportions
from tests import ROOT
from tests.conftest import Command, Once
from tests.documents import README, blocks, commands, made, parse, read
from tests.pixels import load

IMAGES = 300
SHARDS, SCORES, ANSWER = blocks(README, "text")


@pytest.fixture(scope="module")
def folder(once: Once, generate: Command) -> Path:
    return made(once, generate)


def cells(output: str) -> list[list[str]]:
    return [re.split(r" {2,}", line.strip()) for line in output.splitlines()]


def test_it_begins_with_two_commands() -> None:
    assert commands(README)[:2] == ["make sample", "make test"]
    rendering = "\t$(BIN)/python generate.py --variant reference,ffmpeg,pil_lanczos,nv12_ascend\n"
    assert rendering in (ROOT / "Makefile").read_text()


def test_the_three_commands_are_about_one_set() -> None:
    make, score, match_ = (parse(line.split()[1:]) for line in commands(README)[2:])
    assert make.variants == score.variants
    assert f"{make.output}/imagenet" == score.shards == match_.shards
    assert make.source == score.source


def test_what_is_made_is_shown_as_it_is_printed(folder: Path) -> None:
    printed = (folder / "printed.txt").read_text()
    head, line, *rows = SHARDS.partition("\n\n")[0].splitlines()
    assert head.split() in [text.split() for text in printed.splitlines()]
    assert SHARDS.strip().splitlines()[-1] in printed
    assert set(line) == {"─", " "}
    assert [",".join(row.split()[0] for row in rows)] == list(parse(commands(README)[2].split()[1:]).variants)
    assert all(row.split()[1:3] == [str(IMAGES), "0"] for row in rows)


def intervals(difference: int) -> Iterator[tuple[str, float]]:
    """The intervals and p-values of so many images lost more than gained."""
    for gained in range(IMAGES // 4):
        found = paired_proportions(difference + gained, gained, IMAGES)
        ends = (f"{100 * end:.2f}".replace("-", "−") for end in (found.low, found.high))
        yield " to ".join(ends), found.p


def test_what_is_scored_follows_from_images_lost_and_gained() -> None:
    rows = cells(SCORES)[2:]
    assert [row[0] for row in rows] == ["Decode", "Resize", "Color Mode", "Combined"]
    for _, figures, interval, p, _ in rows:
        points = max(map(float, re.findall(r"[\d.]+", figures)))
        known = dict(intervals(round(points * IMAGES / 100)))
        assert interval in known
        assert known[interval] <= float(p) <= 1


def test_the_answer_is_the_one_that_match_prints(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(folder / "out" / "sample" / "opencv_bilinear" / "validation-00000-of-00001.tar") as tar:
        tar.extractall(tmp_path, [member for member in tar if member.name.endswith(".png")], filter="data")
    assert match(MatchOptions(str(folder / "out" / "sample"), tmp_path)) == 0
    first = capsys.readouterr().out.partition("\n\n")[0]
    assert re.sub(r"\d+ images", "12 images", first) == ANSWER.strip()
    assert blocks("docs/match.md", "text") == [ANSWER]


@pytest.mark.cpu
def test_the_picture_is_of_the_photograph_s_pixels() -> None:
    with Image.open(picture.PATH) as file:
        shown, figures = np.asarray(file.convert("RGB")), file.info[picture.FIGURES]
    made = picture.outputs()
    differ = [] if figures == picture.figures(made) else [(0, picture.HEIGHT)]
    for (left, top), pixels in picture.panels(made).items():
        rows, columns = pixels.shape[:2]
        found = shown[top : top + rows, left : left + columns]
        if columns == picture.WHOLE * picture.SIDE:  # the frame around the detail lies on the photograph
            found = np.where(np.all(found == ImageColor.getrgb(picture.MARK), axis=-1, keepdims=True), pixels, found)
        if not np.array_equal(found, pixels):
            differ.append((left, top))
    if differ and not load().knows(cpu()):
        pytest.skip("this kind of CPU, which may be the reason, is not in tests/pixels.json")
    assert not differ, "draw it again: python -m docs.picture"


def test_the_picture_is_small_and_its_caption_true() -> None:
    assert picture.PATH.stat().st_size < 300_000
    assert f"times {picture.STRETCH}," in " ".join(read(README).split())
