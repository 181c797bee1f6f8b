"""The leaderboard: what is published, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import score
from pipelines.errors import UsageError
from pipelines.evaluate.compare import board
from pipelines.evaluate.compare.again import command, preprocessing
from pipelines.evaluate.compare.entry import FIELDS, Entry, published
from pipelines.evaluate.compare.recomputed import recomputed
from pipelines.evaluate.compare.report import read_report
from pipelines.evaluate.model.preprocessing import Preprocessing, read_preprocessing
from pipelines.store import Disk
from tests.pipelines.evaluate.compare.conftest import Report, edited, older, read, submit


def test_a_checked_row_is_the_reports_own(site: Path, models: dict[str, Path]) -> None:
    theirs, mine = read(models["small20"]), read(site / "reports" / "small20")
    for name in set(FIELDS) & set(theirs):
        assert mine[name] == theirs[name], name
    found = read(site)
    assert {name: row["checked"] for name, row in found["rows"].items()} == {"small10": False, "small20": True}
    for variant, digest in found["rows"]["small20"]["predictions"].items():
        data = (models["small20"] / "predictions" / f"{variant}.csv").read_bytes()
        assert digest == hashlib.sha256(data).hexdigest()


def test_the_manifests_are_the_shards(site: Path, noised: Path) -> None:
    manifests = read(site / "reports" / "small20")["set"]["manifests"]
    assert len(manifests) == 9
    for variant, digest in manifests.items():
        assert digest == hashlib.sha256((noised / variant / "manifest.json").read_bytes()).hexdigest()


def test_nothing_but_figures_and_names_is_published(site: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    files = [path for path in site.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".html", ".md", ".csv", ".json", ".parquet"}
    for path in files:
        data = path.read_bytes()
        assert str(tmp_path_factory.getbasetemp()).encode() not in data
        assert b"data:image" not in data
        assert b"<img" not in data


def test_a_model_may_be_named_like_a_file(models: dict[str, Path], tmp_path: Path) -> None:
    report = edited(models, tmp_path / "report", lambda report: report.update(model="net.json"))
    assert score.main(["compare", str(report), "--publish", str(tmp_path / "board")]) == 0
    assert read_report(str(tmp_path / "board" / "reports" / "net.json")).name == "net.json"


def test_writing_a_board_again_changes_nothing(site: Path, tmp_path: Path) -> None:
    again = Disk(str(shutil.copytree(site, tmp_path / "board")))
    board._write(again, [entry for _, entry in board._published(again)])
    for path in filter(Path.is_file, site.rglob("*")):
        assert (tmp_path / "board" / path.relative_to(site)).read_bytes() == path.read_bytes()


def test_the_readme_is_a_spaces_and_its_commands_are_score_pys(site: Path) -> None:
    text = (site / "README.md").read_text()
    assert text.startswith('---\ntitle: "SysNoise leaderboard, imagenet"\nsdk: static\napp_file: index.html\n---\n')
    commands = re.findall(r"^```sh\npython score.py (.*)\n```$", text, re.MULTILINE)
    assert len(commands) == 2
    for words in commands:
        given = score._parser().parse_args(shlex.split(words))
        assert given.variants == ("opencv,ffmpeg,pil_nearest,opencv_area,nv12_ascend",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda report: report["variants"]["nv12_ascend"].update(p_holm=0.01),
            "variants.nv12_ascend.p_holm is 0.01, but 1 from its predictions",
        ),
        (lambda report: report["stages"]["resize"].update(mean=0.5), "stages.resize.mean is 0.5, but 4.16667"),
        (lambda report: report["set"]["manifests"].update(ffmpeg="0" * 64), "set.manifests.ffmpeg is 0000"),
        (lambda report: report["variants"]["opencv"].pop("degenerate") and None, "it has no 'degenerate'"),
        (lambda report: report["paper_steps"].pop(), "paper_steps is [{"),
        (lambda report: report.update(set={**report["set"], "images_sha256": "1" * 64}), "their images differ"),
        (lambda report: report.update(scored_with={"class_offset": 10**9}), "scored_with.class_offset"),
        (lambda report: report.update(scored_with={"seed": -1}), "scored_with.seed"),
        (lambda report: report.update(model="small20"), "already has a small20: score yours under another --name"),
        (older, "does not record the scored images"),
    ],
)
def test_an_edited_report_is_named_and_refused(
    change: Callable[[Report], Any],
    said: str,
    site: Path,
    models: dict[str, Path],
    noised: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}

    def renamed(report: Report) -> None:
        report["model"] = "forged"
        change(report)

    assert submit(edited(models, tmp_path / "forged", renamed), site, noised) == 2
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before


def test_a_seed_is_any_whole_number(models: dict[str, Path], noised: Path, tmp_path: Path) -> None:
    given = edited(models, tmp_path / "seeded", lambda report: report.update(scored_with={"seed": 20_250_101}))
    with pytest.raises(UsageError, match="--seed does not apply to imagenet"):  # so the value itself was accepted
        recomputed(read_report(str(given)), str(tmp_path / "none"), str(noised), None)


def test_other_predictions_are_not_the_reports(
    site: Path, models: dict[str, Path], noised: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = str(models["small10"] / "predictions")
    assert submit(models["steady"], site, noised, "--predictions", theirs) == 2
    assert "and 15 more" in re.sub(r"and \d+ more", "and 15 more", capsys.readouterr().err)


def test_a_folder_of_something_else_is_left_alone(
    models: dict[str, Path], noised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").touch()
    assert submit(models["steady"], tmp_path, noised) == 2
    assert "is not empty and not a leaderboard" in capsys.readouterr().err


def test_paths_are_not_published() -> None:
    raw: Report = {"model": "net", "not_applicable": {"int8": "/home/me/net.onnx failed"}, "missing": {"variants": []}}
    assert published(raw)["not_applicable"] == {"int8": "it could not be scored"}


def test_a_models_toml_says_what_its_predictions_were_made_with(tmp_path: Path) -> None:
    stated = Preprocessing(
        mean=(1.0, 2.0, 3.0),
        std=(4.0, 5.0, 6.0),
        scale=1 / 255,
        channels="bgr",
        layout="nhwc",
        labels=(5, -1, 7),
        head="yolox",
        pad=114,
        placement="top_left",
        size=416,
    )
    geometry = {"name": "keep_ratio", "size": [320, 480]}
    singles = {"pil_lanczos": {"resize": "pil_lanczos", "color": "none"}}
    results = {
        "dataset": "coco",
        "geometry": geometry,
        "reference": "pil_bilinear",
        "variants": {
            n: {"stages": s}
            for n, s in {"pil_bilinear": {"resize": "pil_bilinear", "color": "none"}, **singles}.items()
        },
        "sha256": "0" * 64,
        "scored_with": {"resamples": 100, "seed": 3},
        "not_applicable": {"int8": "it is quantised already", "ffmpeg+int8": "it is quantised already"},
    }
    made_by = json.loads(json.dumps({"preprocessing": stated.of_predictions()}))
    entry = Entry("a net", results, b"", made_by, {}, checked=False)
    for name, content in preprocessing(entry).items():
        (tmp_path / name).write_text(content)
    model = tmp_path / "model.onnx"
    model.touch()
    found = read_preprocessing(model, {})
    assert found.of_predictions() == stated.of_predictions()
    given = score._parser().parse_args(shlex.split(command(entry))[2:])
    assert (given.preprocessing, given.seed, given.resamples) == ("reports/a-net/model.toml", 3, 100)
    assert given.variants == ("pil_lanczos,int8",)
    assert (found.geometry, given.geometry, given.size) == ("keep_ratio", "keep_ratio", (320, 480))
    cropped = {**results, "geometry": {"name": "crop", "size": [224, 235]}}
    words = shlex.split(command(replace(entry, results=cropped)))
    given = score._parser().parse_args(words[2:])
    assert (given.geometry, given.size, given.resize) == ("crop", (224,), 235)


def test_a_name_is_escaped_everywhere(models: dict[str, Path], noised: Path, tmp_path: Path) -> None:
    def renamed(report: Report) -> None:
        report["model"] = "../<script>alert(1)</script> | *net*\n---"

    report, site = edited(models, tmp_path / "report", renamed), tmp_path / "site"
    assert submit(report, site, noised) == 0
    (folder,) = (site / "reports").iterdir()
    assert re.fullmatch(r"[\w-]+", folder.name)
    for page in (site / "index.html", folder / "index.html"):
        assert "<script>alert" not in page.read_text()
    assert r"\<script\>alert(1)\</script\> \| \*net\* ---" in (site / "README.md").read_text()
