"""Comparisons of reports: figures agree with the reports', and reports that cannot be compared are refused."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.multitest import multipletests

import score
from manifests.canonical import digest
from pipelines.errors import UsageError
from pipelines.evaluate.compare.families import families_of
from pipelines.evaluate.compare.relations import relations_of
from pipelines.evaluate.compare.report import read_report
from pipelines.evaluate.compare.table import table_of
from tests import ROOT
from tests.pipelines.evaluate.compare.conftest import VARIANTS, Report, edited, older, read
from tests.pipelines.evaluate.conftest import COMBINED


def test_the_table_is_the_reports(compared: Path, models: dict[str, Path]) -> None:
    found = read(compared)
    rows = {row["model"]: row for row in csv.DictReader((compared / "results.csv").read_text().splitlines())}
    assert list(found["models"]) == list(rows) == list(models)
    for model, folder in models.items():
        theirs, mine = read(folder), found["models"][model]
        assert mine["top1"] == theirs["variants"]["pil_bilinear"]["top1"]
        for stage in ("decode", "resize", "color"):
            for figure in ("mean", "max"):
                assert mine["stages"][stage][figure] == pytest.approx(theirs["stages"][stage][figure])
                assert float(rows[model][f"{stage}_{figure}"]) == pytest.approx(mine["stages"][stage][figure], abs=6e-4)
            worst = theirs["variants"][mine["stages"][stage]["worst"]]
            assert mine["stages"][stage]["max_ci95"] == worst["ci95"]
        combined = theirs["combined"]
        if combined:
            assert mine["stages"]["combined"]["max"] == combined["delta"]
        else:
            assert "combined" in mine["dashes"]
        assert mine["dashes"]["int8"]
    text = (compared / "report.md").read_text()
    assert "| small10 | 75.00 |" in text


def test_the_interval_of_a_mean_holds_it_and_narrows_with_methods(compared: Path) -> None:
    stages = read(compared)["models"]["small10"]["stages"]
    low, high = stages["resize"]["mean_ci95"]
    assert low < stages["resize"]["mean"] < high
    worst = stages["resize"]["max_ci95"]
    assert high - low < worst[1] - worst[0]
    assert stages["color"]["mean_ci95"] is None  # one method: its own interval is shown


def test_against_a_model_that_loses_nothing_the_test_is_mcnemars(compared: Path, models: dict[str, Path]) -> None:
    """Each report has McNemar's p, computed in another way."""
    pairs = {(pair["one"], pair["other"], pair["variant"]): pair for pair in read(compared)["pairs"]}
    for model in ("small10", "small20"):
        lines = read(models[model])["variants"]
        for variant in ("ffmpeg", "pil_nearest", "opencv_area", "nv12_ascend"):
            pair = pairs[model, "steady", variant]
            assert (pair["delta"], pair["p"]) == pytest.approx((lines[variant]["delta"], lines[variant]["p"]))
            assert pair["ci95"][0] < pair["delta"] < pair["ci95"][1]
    assert ("small10", "small20", "combined") in pairs
    assert not [variant for *_, variant in pairs if variant in ("opencv", COMBINED)]
    theirs = multipletests([pair["p"] for pair in pairs.values()], method="holm")[1]
    assert [pair["p_holm"] for pair in pairs.values()] == pytest.approx(list(theirs))


def test_against_no_difference_a_difference_of_map_stays_itself(coco: tuple[Path, Path], tmp_path: Path) -> None:
    shards, annotations = coco
    truths = json.loads(annotations.read_text())["annotations"]
    random = np.random.default_rng(2)
    for model, jitter in (("jumpy", 14.0), ("steady", 0.0)):
        folder = tmp_path / model / "predictions"
        folder.mkdir(parents=True)
        for variant in ("pil_bilinear", "ffmpeg", "pil_nearest"):
            moved = jitter if variant == "pil_nearest" else 0.0
            boxes = [
                {
                    **{name: one[name] for name in ("image_id", "category_id")},
                    "bbox": [one["bbox"][0] + random.uniform(-moved, moved), *one["bbox"][1:]],
                    "score": float(0.5 + 0.001 * place),
                }
                for place, one in enumerate(truths)
            ]
            (folder / f"{variant}.json").write_text(json.dumps(boxes))
        words = ["--shards", shards, "--annotations", annotations, "--predictions", folder, "--output", folder.parent]
        more = ["--name", model, "--examples", 0, "--resamples", 150 if model == "jumpy" else 200]
        assert score.main([str(word) for word in (*words, *more)]) == 0
    assert (
        score.main(["compare", *(str(tmp_path / m) for m in ("jumpy", "steady")), "--output", str(tmp_path / "c")]) == 0
    )
    line = read(tmp_path / "jumpy")["variants"]["pil_nearest"]
    (pair,) = (pair for pair in read(tmp_path / "c")["pairs"] if pair["variant"] == "pil_nearest")
    assert line["delta"] > 1
    assert (pair["delta"], *pair["ci95"]) == pytest.approx((line["delta"], *line["ci95"]), abs=1e-3)
    assert pair["p"] == pytest.approx(line["p"])


def test_one_report_is_a_table(models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score.main(["compare", str(models["small10"] / "results.json"), "--output", str(tmp_path)]) == 0
    assert read(tmp_path)["pairs"] == []
    assert "1 model on imagenet, 48 images" in capsys.readouterr().out


def _other_reference(report: Report) -> None:
    report["variants"]["pil_bilinear"]["stages"]["resize"] = "pil_bicubic"


def _set(field: str) -> Callable[[Report], object]:
    return lambda report: report["set"].update({field: "0" * 64})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda report: report.update(dataset="sample"), "the dataset is imagenet in the first, sample in the second"),
        (lambda report: report.update(n=47), "the number of images is 48 in the first, 47 in the second"),
        (lambda report: report.update(left_out=2), "left out is 0 in the first, 2 in"),
        (_other_reference, "the reference is pil+pil_bilinear in the first, pil+pil_bicubic in the second"),
        (
            _set("images_sha256"),
            "cannot be compared: their images differ (same keys, different files)",
        ),
        (_set("truth_sha256"), "their ground truth differ"),
        (lambda report: report["variants"]["ffmpeg"].update(delta=float("nan")), "NaN is not a number"),
        (lambda report: report["variants"]["ffmpeg"].pop("ci95"), "it has no 'ci95'"),
        (lambda report: report["set"].pop("truth_sha256"), "it has no 'truth_sha256'"),
        (lambda report: report.update(parameters="many"), "its parameters are 'many'"),
        (lambda report: report.update(metric="wer"), "its metric is 'wer'"),
        (lambda report: report.update(metric="mse"), "is a report on speech, but only reports on images"),
        (
            lambda report: report.update(tasks=report.pop("variants")),
            "is a report on text, but only reports on images",
        ),
        (_set("keys_sha256"), "outcomes.parquet has other images than the results.json next to it"),
        (
            lambda report: report["variants"]["ffmpeg"].update(top1=1.0),
            "outcomes.parquet does not belong to the results.json",
        ),
        (older, "does not record the scored images"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    change: Callable[[Report], object],
    said: str,
    models: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = edited(models, tmp_path / "other", change)
    assert score.main(["compare", str(models["small10"]), str(other), "--output", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_different_images_are_named_by_their_keys(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(models["small20"] / "outcomes.parquet")
    keys = table["key"].to_pylist()
    theirs = [*keys[:-2], "x", "y"]

    def change(report: Report) -> None:
        report["set"].update(images_sha256="0" * 64, keys_sha256=digest(theirs))

    other = edited(models, tmp_path / "other", change)
    pq.write_table(table.set_column(0, "key", [theirs]), other / "outcomes.parquet")
    assert score.main(["compare", str(models["small10"]), str(other)]) == 2
    assert f"2 of 48 are only in {models['small10']}, first {keys[-2]}" in capsys.readouterr().err


def test_an_older_report_is_accepted_if_its_predictions_have_the_keys(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = edited(models, tmp_path / "other", older)
    (other / "outcomes.parquet").unlink()
    keys = pq.read_table(models["small10"] / "outcomes.parquet", columns=["key"])
    pq.write_table(keys, other / "predictions" / "pil_bilinear.parquet")
    words = ["compare", str(models["small10"]), str(other), "--output", str(tmp_path / "out")]
    assert score.main(words) == 0
    said = capsys.readouterr().out
    assert "small20 was made by an earlier version: its images have the same names as the others'" in said
    assert "small20 has no outcomes.parquet, and is in no paired test" in said
    assert read(tmp_path / "out")["models"]["small20"]["stages"]["resize"]["mean_ci95"] is None
    pq.write_table(keys.slice(1), other / "predictions" / "pil_bilinear.parquet")
    assert score.main(words) == 2


def test_a_repeated_report_is_refused_and_equal_names_are_made_unique(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = models["small10"]
    assert score.main(["compare", str(one), str(one / "results.json")]) == 2
    assert "have the same figures for small10: give only one" in capsys.readouterr().err
    other = edited(models, tmp_path / "again", lambda report: report.update(model="small10"))
    assert score.main(["compare", str(one), str(other), "--output", str(tmp_path / "out")]) == 0
    assert list(read(tmp_path / "out")["models"]) == ["small10 (small10)", "small10 (again)"]


def test_a_mean_is_over_methods_that_all_reports_have(models: dict[str, Path], tmp_path: Path) -> None:
    def without(report: Report) -> None:
        del report["variants"]["opencv_area"]

    other = edited(models, tmp_path / "other", without)
    (other / "outcomes.parquet").unlink()
    table = table_of([read_report(str(models["small10"])), read_report(str(other))])
    resize = table.rows[0].cells["resize"]
    assert (resize.methods, resize.worst.name) == (1, "pil_nearest")
    assert [note for note in table.notes if "Resize of small10 leaves out opencv_area" in note]


def test_families_follow_names_unless_given(models: dict[str, Path]) -> None:
    reports = [read_report(str(folder)) for folder in models.values()]
    assert families_of(reports, ()) == {"small": ["small10", "small20"]}
    assert families_of(reports, [f"mine=steady,{models['small10']}/"]) == {"mine": ["steady", "small10"]}
    for words, said in (
        (["mine"], "give NAME=REPORT"),
        (["a=steady"], "two members"),
        (["a=steady,x"], "x is not one of"),
        (["a=steady,steady"], "each member once"),
        (["a=steady,small10", "a=steady,small20"], "two have the same name"),
    ):
        with pytest.raises(UsageError, match=said):
            families_of(reports, words)


def test_ranks_are_correlated_from_five_models_on(models: dict[str, Path], tmp_path: Path) -> None:
    """Opposite ranks of five models: of 120 orderings, only this one and its mirror are as extreme."""
    reports = []
    for size in range(1, 6):

        def change(report: Report, size: int = size) -> None:
            report.update(parameters=10**size, model=f"m{size}")
            report["variants"][COMBINED]["delta"] -= size

        reports.append(read_report(str(edited(models, tmp_path / str(size), change, "small10"))))
    relations = {one.what: one for one in relations_of(table_of(reports))}
    assert relations["parameters"].rho == pytest.approx(-1)
    assert relations["parameters"].p == pytest.approx(2 / 120)
    assert relations["accuracy"].rho is None  # all are equal
    assert "bytes" not in relations
    assert relations_of(table_of(reports[:4]))[1].rho is None


def test_a_report_keeps_each_variants_hits(models: dict[str, Path], truth: dict[str, int]) -> None:
    table = pq.read_table(models["small10"] / "outcomes.parquet")
    singles = [name for name in VARIANTS if "+" not in name]
    assert table.column_names == ["key", *singles, COMBINED]
    assert table["key"].to_pylist() == list(truth)
    assert [place for place, hit in enumerate(table["opencv_area"].to_pylist()) if not hit] == [
        *range(9),
        *range(20, 24),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give the folders of reports, or --submit"),
        (["a", "--submit", "b"], "give the folders of reports, or --submit"),
        (["--submit", "b", "--publish", "c"], "needs --publish, the folder to submit to, and --shards"),
        (["a", "--shards", "b"], "--shards applies only with --submit"),
        (["a", "--publish", "b", "--output", "c"], "--output does not apply with --publish"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        score.main(["compare", *words])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("path", ["docs/compare.md", "examples/leaderboard/README.md"])
def test_the_documents_commands_parse(path: str) -> None:
    text = (ROOT / path).read_text()
    commands = re.findall(r"^\S*python score\.py compare (.*)$", text, re.MULTILINE)
    assert len(commands) > 1
    parser = score._parser("compare")
    for words in commands:
        given = parser.parse_args(words.split())
        assert given.reports or given.submit
    options = {option for action in (*parser._actions, *score._parser()._actions) for option in action.option_strings}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= options
