"""score.py as users run it, on predictions."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from manifests.canonical import digest
from tests import ROOT
from tests.conftest import Command
from tests.pipelines.evaluate.conftest import COUNT, write_predictions, wrong_in
from tests.pipelines.evaluate.model.models import colour_model

# The images, of 48, that each variant gets wrong.
WRONG = {
    "pil_bilinear": range(0, 8),
    "opencv": range(0, 8),
    "ffmpeg": range(1, 10),
    "pil_nearest": range(2, 22),
    "opencv_area": range(0, 9),
    "nv12_ascend": range(0, 7),
}


@pytest.fixture
def predictions(truth: dict[str, int], tmp_path: Path) -> Path:
    return write_predictions(tmp_path / "predictions", {name: wrong_in(truth, w) for name, w in WRONG.items()})


def scored(command: Command, noised: Path, predictions: Path, *words: object) -> dict[str, Any]:
    done = command("score.py", "--shards", noised, "--predictions", predictions, *words, cwd=predictions.parent)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((predictions.parent / "report" / "results.json").read_text())
    return found


def test_the_figures_are_those_of_the_predictions(command: Command, noised: Path, predictions: Path) -> None:
    found = scored(command, noised, predictions)
    assert (found["n"], found["reference"], found["metric"]) == (COUNT, "pil_bilinear", "top1")
    tested = [name for name in WRONG if name != "pil_bilinear"]
    base = set(WRONG["pil_bilinear"])
    p_values = []
    for name in tested:
        own, mine = set(WRONG[name]), found["variants"][name]
        assert mine["top1"] == pytest.approx(100 * (COUNT - len(own)) / COUNT)
        assert mine["delta"] == pytest.approx(100 * (len(own) - len(base)) / COUNT)
        assert (mine["lost"], mine["gained"]) == (len(own - base), len(base - own))
        assert mine["p"] == pytest.approx(mcnemar([[1, mine["lost"]], [mine["gained"], 1]], exact=True).pvalue)
        assert mine["ci95"][0] <= mine["delta"] <= mine["ci95"][1]
        p_values.append(mine["p"])
    theirs = multipletests(p_values, method="holm")[1]
    assert [found["variants"][name]["p_holm"] for name in tested] == pytest.approx(theirs.tolist())
    assert found["stages"]["resize"] == pytest.approx(
        {"mean": 100 * (12 + 1) / 2 / COUNT, "max": 100 * 12 / COUNT, "worst": "pil_nearest", "methods": 2}
    )


def test_identical_predictions_do_not_differ(command: Command, noised: Path, predictions: Path) -> None:
    found = scored(command, noised, predictions)["variants"]
    assert found["opencv"]["degenerate"] is True
    assert found["ffmpeg"]["degenerate"] is False
    same = found["opencv"]
    assert (same["delta"], same["p"], same["p_holm"], same["lost"], same["gained"]) == (0, 1, 1, 0, 0)


def test_shuffled_labels_give_chance(command: Command, noised: Path, truth: dict[str, int], tmp_path: Path) -> None:
    labels = list(truth.values())
    random.Random(1).shuffle(labels)
    shuffled = dict(zip(truth, labels, strict=True))
    folder = write_predictions(tmp_path / "predictions", {"pil_bilinear": shuffled, "ffmpeg": shuffled})
    found = scored(command, noised, folder)["variants"]["pil_bilinear"]
    assert found["top1"] < 30  # ten classes


def test_what_is_missing_for_the_next_step_is_said_and_then_used(
    command: Command, noised: Path, predictions: Path, truth: dict[str, int]
) -> None:
    found = scored(command, noised, predictions)
    assert [step["method"] for step in found["steps"]] == ["pil_nearest"]
    # In the paper's order, and worst first
    names = ["ffmpeg+pil_nearest", "ffmpeg+pil_nearest+nv12_ascend", "pil_nearest+nv12_ascend"]
    assert found["missing"]["variants"] == names
    words = found["missing"]["command"].split()
    assert words[words.index("--variant") + 1] == ",".join(names)
    assert found["combined"] is None
    more = {"ffmpeg+pil_nearest": range(2, 26), "pil_nearest+nv12_ascend": range(2, 23)}
    write_predictions(predictions, {name: wrong_in(truth, places) for name, places in more.items()})
    found = scored(command, noised, predictions)
    assert [step["variant"] for step in found["steps"]] == ["pil_nearest", "ffmpeg+pil_nearest"]
    assert found["missing"]["variants"] == ["ffmpeg+pil_nearest+nv12_ascend"]
    write_predictions(predictions, {"ffmpeg+pil_nearest+nv12_ascend": wrong_in(truth, range(2, 30))})
    found = scored(command, noised, predictions)
    assert not found["missing"]["variants"]
    assert [step["stage"] for step in found["paper_steps"]] == ["decode", "resize", "color"]
    assert [step["stage"] for step in found["steps"]] == ["resize", "decode", "color"]
    combined = found["variants"]["ffmpeg+pil_nearest+nv12_ascend"]
    assert found["combined"] == {
        "variant": "ffmpeg+pil_nearest+nv12_ascend",
        **{name: combined[name] for name in ("delta", "ci95", "p", "p_holm")},
    }


def test_the_command_that_is_said_makes_what_is_missing(
    command: Command, noised: Path, predictions: Path, tmp_path: Path
) -> None:
    found = scored(command, noised, predictions)
    shutil.copytree(noised.parent, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "imagenet" / "ffmpeg+pil_nearest")
    text = found["missing"]["command"].replace(str(noised.parent), str(tmp_path / "out"))
    source = noised.parent.parent
    words = text.replace("--source …", f"--source {source / 'source'}").replace(
        "--labels …", f"--labels {source}/labels.txt"
    )
    done = command(*words.split())
    assert done.returncode == 0, done.stderr
    made = tmp_path / "out" / "imagenet" / "ffmpeg+pil_nearest" / "manifest.json"
    assert made.read_bytes() == (noised / "ffmpeg+pil_nearest" / "manifest.json").read_bytes()


def test_the_files_agree_with_one_another(command: Command, noised: Path, predictions: Path) -> None:
    found = scored(command, noised, predictions, "--name", "net|1")
    report = predictions.parent / "report"
    assert sorted(path.name for path in report.iterdir()) == [
        *("outcomes.parquet", "report.html", "report.md", "results.csv", "results.json"),
    ]
    with open(report / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:9] == [
        *("model", "top1", "top1_err", "top5", "top5_err"),
        *("param_count", "img_size", "crop_pct", "interpolation"),
    ]
    assert [row["variant"] for row in rows] == list(found["variants"])
    for row in rows:
        mine = found["variants"][row["variant"]]
        assert float(row["top1"]) == pytest.approx(mine["top1"], abs=5e-4)
        assert float(row["top1"]) + float(row["top1_err"]) == pytest.approx(100)
        assert (int(row["lost"]), int(row["gained"])) == (mine["lost"], mine["gained"])
        assert row["degenerate"] == str(mine["degenerate"]).lower()
        assert (row["interpolation"], row["img_size"]) == (mine["stages"]["resize"], "64")
    assert list(rows[0])[-4:] == ["pool", "upsample", "precision", "boxes"]
    assert f"{COUNT} images, crop 64 of 71" in (report / "report.html").read_text()
    head, _, first, *rest = (report / "report.md").read_text().splitlines()
    columns = "Decode | Resize | Color Mode | Precision (FP16 / INT8) | Ceil Mode | Combined |"
    assert head == f"| Architecture | Trained ACC | {columns}"
    cells = [cell.partition("<br>")[0] for cell in first.removeprefix(r"| net\|1 | ").split(" | ")]
    assert cells == ["83.33", "1.04 (2.08)", "13.54 (25.00)", "−2.08", "– / –", "–", "– |"]
    assert any(line.startswith("| `pil_nearest` | 58.33 | +25.00 |") for line in rest)


def test_the_same_input_gives_the_same_bytes(command: Command, noised: Path, predictions: Path) -> None:
    report = predictions.parent / "report"
    scored(command, noised, predictions)
    first = {path.name: path.read_bytes() for path in report.iterdir()}
    scored(command, noised, predictions)
    assert {path.name: path.read_bytes() for path in report.iterdir()} == first


def test_a_cluster_gives_the_same_bytes(
    command: Command, noised: Path, predictions: Path, joined: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = predictions.parent / "report"
    words = ["--variant", "opencv,pil_nearest"]
    scored(command, noised, predictions, *words)
    first = {path.name: path.read_bytes() for path in report.iterdir()}
    for name, value in joined.items():
        monkeypatch.setenv(name, value)
    scored(command, noised, predictions, *words, "--address", joined["RAY_ADDRESS"])
    assert {path.name: path.read_bytes() for path in report.iterdir()} == first


def test_only_the_asked_variants_and_the_reference_are_scored(
    command: Command, noised: Path, predictions: Path
) -> None:
    found = scored(command, noised, predictions, "--variant", "ffmpeg,pil+pil_nearest,int8")
    assert list(found["variants"]) == ["pil_bilinear", "ffmpeg", "pil_nearest"]
    assert found["notes"][0] == "Not scored, for lack of predictions: int8."
    found = scored(command, noised, predictions, "--variant", "decode")
    assert list(found["variants"]) == ["pil_bilinear", "opencv", "ffmpeg"]
    done = command("score.py", "--shards", noised, "--predictions", predictions, "--variant", "dali_gpu")
    assert done.returncode == 2
    assert "dali_gpu is not in" in done.stderr  # it could be scored, so nothing says that it cannot run here
    assert "to make it: generate.py --variant dali_gpu " in done.stderr


def test_what_has_no_predictions_is_said(command: Command, noised: Path, predictions: Path) -> None:
    (predictions / "opencv.csv").unlink()
    found = scored(command, noised, predictions)
    assert "opencv" not in found["variants"]
    assert found["notes"][0].startswith("Not scored, for lack of predictions: opencv, ")


def test_samples_that_fail_in_variants_which_nobody_scores_count(
    command: Command, noised: Path, predictions: Path, tmp_path: Path
) -> None:
    shutil.copytree(noised, tmp_path / "imagenet")
    for name in ("opencv_area", "nv12_ascend"):
        path = tmp_path / "imagenet" / name / "manifest.parquet"
        table = pq.read_table(path)
        status = pa.array(["failed"] * 20 + ["ok"] * (COUNT - 20))
        at = table.schema.get_field_index("status")
        pq.write_table(table.set_column(at, table.schema.field("status"), status), path)
        (predictions / f"{name}.csv").unlink()
    assert scored(command, tmp_path / "imagenet", predictions)["n"] == COUNT
    done = command("score.py", "--shards", tmp_path / "imagenet", "--predictions", predictions, "--variant", "all")
    assert "48 images" in done.stdout
    assert f"{4 * COUNT} of {4 * COUNT} images scored" in done.stderr


def test_predictions_that_are_ahead_by_one_are_scored_with_the_offset(
    command: Command, noised: Path, truth: dict[str, int], tmp_path: Path
) -> None:
    ahead = {key: label + 1 for key, label in truth.items()}
    folder = write_predictions(tmp_path / "predictions", {"pil_bilinear": ahead, "ffmpeg": ahead})
    assert scored(command, noised, folder, "--class-offset", 1)["variants"]["ffmpeg"]["top1"] == 100


def test_other_predictions_for_the_same_pixels_are_remarked(
    command: Command, noised: Path, predictions: Path, truth: dict[str, int]
) -> None:
    write_predictions(predictions, {"opencv": wrong_in(truth, range(5, 20))})
    notes = scored(command, noised, predictions)["notes"]
    assert any(
        note.startswith("opencv has the reference's pixels, but different predictions (12 lost") for note in notes
    )


def test_a_wanted_example_comes_first_and_a_failed_run_changes_nothing(
    command: Command, noised: Path, predictions: Path, truth: dict[str, int]
) -> None:
    last = list(truth)[-1]
    scored(command, noised, predictions, "--example", last, "--examples", 2)
    report = predictions.parent / "report"
    page = (report / "report.html").read_text()
    assert re.findall(r"<h3>(.*?)</h3>", page)[0] == last
    assert page.count("<h3>") == 2
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    write_predictions(predictions, {"ffmpeg": wrong_in(truth, range(30))})
    done = command("score.py", "--shards", noised, "--predictions", predictions, "--example", "zebra")
    assert done.returncode == 2
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before


def test_shards_that_are_damaged_are_named(command: Command, noised: Path, predictions: Path, tmp_path: Path) -> None:
    shutil.copytree(noised, tmp_path / "imagenet")
    for path in (tmp_path / "imagenet").glob("*/*.tar"):
        data = bytearray(path.read_bytes())
        data[:100] = b"other.png".ljust(100, b"\0")
        path.write_bytes(data)
    done = command("score.py", "--shards", tmp_path / "imagenet", "--predictions", predictions)
    assert done.returncode == 0
    assert "no pictures in the report" in done.stderr
    assert "run verify.py" in done.stderr
    (tmp_path / "imagenet" / "ffmpeg" / "manifest.parquet").unlink()
    done = command("score.py", "--shards", tmp_path / "imagenet", "--predictions", predictions)
    assert done.returncode == 3
    assert "manifest.parquet is missing" in done.stderr


def test_what_cannot_be_printed_is_no_failure_and_what_cannot_be_written_is_one(
    noised: Path, predictions: Path, tmp_path: Path
) -> None:
    words = [sys.executable, str(ROOT / "score.py"), "--shards", str(noised), "--predictions", str(predictions)]
    words += ["--output", str(tmp_path / "report")]
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, env=plain, capture_output=True, text=True, check=False)
    assert (done.returncode, "pil_nearest" in done.stdout) == (0, True), done.stderr
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert "standard output: No space left on device" in done.stderr
    assert done.stderr.count("error") == 1


def test_coco_results_are_scored(command: Command, coco: tuple[Path, Path], tmp_path: Path) -> None:
    shards, annotations = coco
    folder = tmp_path / "predictions"
    folder.mkdir()
    truth = json.loads(annotations.read_text())["annotations"]
    for name, shift in (("pil_bilinear", 1), ("ffmpeg", 1), ("pil_nearest", 8)):
        found = [
            {
                **{k: t[k] for k in ("image_id", "category_id")},
                "bbox": [t["bbox"][0] + shift, *t["bbox"][1:]],
                "score": 1,
            }
            for t in truth
        ]
        (folder / f"{name}.json").write_text(json.dumps(found))
    words = ["--shards", shards, "--predictions", folder, "--resamples", 300]
    done = command("score.py", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "need --annotations" in done.stderr
    done = command("score.py", *words, "--annotations", annotations)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert results["metric"] == "map"
    assert results["variants"]["ffmpeg"]["delta"] == 0
    assert results["variants"]["ffmpeg"]["p"] == 1
    assert results["variants"]["pil_nearest"]["delta"] > 5
    assert results["variants"]["pil_nearest"]["p_holm"] < 0.05
    assert "mAP" in done.stdout
    for path in folder.iterdir():
        framed = json.loads(path.read_text())
        for result in framed:
            x, y, w, h = result["bbox"]
            result["bbox"] = [1.5 * x, 1.5 * y + 22, 1.5 * w, 1.5 * h]
        path.write_text(json.dumps(framed))
    assert command("score.py", *words, "--annotations", annotations, "--boxes", "shard").returncode == 0
    again = json.loads((tmp_path / "report" / "results.json").read_text())
    assert {n: v["map"] for n, v in again["variants"].items()} == pytest.approx(
        {n: v["map"] for n, v in results["variants"].items()}
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --shards"),
        (["--shards", "nowhere", "--predictions", "p"], "nowhere: give the folder that generate.py wrote"),
        (["--shards", "SHARDS"], "one of the arguments --predictions --model is required"),
        (["--shards", "SHARDS", "--predictions", "nowhere"], "nowhere is not a folder"),
        (["--shards", "SHARDS/opencv", "--predictions", "p"], "is a single variant: give its dataset's folder"),
        (["--shards", "SHARDS", "--predictions", "p", "--variant", "pil_lancsoz"], "did you mean pil_lanczos"),
        (["--shards", "SHARDS", "--predictions", "p", "--mean", "1,2"], "neither one number nor three"),
        (["--shards", "SHARDS", "--predictions", "p", "--scale", "1"], "--scale applies only with --model"),
        (["--shards", "SHARDS", "--predictions", "p", "--workers", "1", "--threads", "2"], "give only --workers"),
        (
            ["--shards", "SHARDS", "--model", "m.onnx", "--checkpoint", "c"],
            "--checkpoint applies only with --model timm:NAME or torchvision:NAME",
        ),
        (["--shards", "SHARDS", "--model", "timm:x", "--checkpoint", "c"], "--checkpoint c is not a file"),
        (["--shards", "SHARDS", "--model", "m", "--reference", "opencv"], "--reference applies only with --source"),
        (["--shards", "SHARDS", "--predictions", "predictions", "--example", "zebra"], "--example zebra: no such key"),
        (
            ["--shards", "SHARDS", "--model", "timn:x"],
            "timn:x is not a file: give an ONNX or TFLite file, timm:NAME or",
        ),
        (["--shards", "SHARDS", "--model", "m.onnx", "--boxes", "shard"], "--boxes applies only with --predictions"),
        (["--shards", "SHARDS", "--predictions", "p", "--boxes", "shard"], "--boxes does not apply to imagenet shards"),
        (
            ["--shards", "SHARDS", "--model", "m.onnx", "--iou-type", "segm"],
            "--iou-type applies only with --predictions",
        ),
        (["--shards", "SHARDS", "--predictions", "p", "--iou-type", "segm"], "--iou-type does not apply to imagenet"),
        (
            ["--shards", "SHARDS", "--predictions", "p", "--annotations", "a"],
            "--annotations does not apply to imagenet",
        ),
        (["--shards", "SHARDS", "--predictions", "p", "--resamples", "9"], "--resamples does not apply to imagenet"),
    ],
)
def test_mistakes_get_one_line(
    words: list[str], message: str, command: Command, noised: Path, predictions: Path, tmp_path: Path
) -> None:
    done = command("score.py", *(word.replace("SHARDS", str(noised)) for word in words))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_a_partial_file_gives_no_number(command: Command, noised: Path, predictions: Path) -> None:
    path = predictions / "ffmpeg.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-5]))
    done = command("score.py", "--shards", noised, "--predictions", predictions)
    assert done.returncode == 2
    assert "ffmpeg.csv lacks 5 of 48 keys" in done.stderr
    assert not (predictions.parent / "report").exists()


def test_shards_without_the_reference_are_refused(
    command: Command, noised: Path, predictions: Path, tmp_path: Path
) -> None:
    shutil.copytree(noised, tmp_path / "imagenet", ignore=shutil.ignore_patterns("pil_bilinear"))
    done = command("score.py", "--shards", tmp_path / "imagenet", "--predictions", predictions)
    assert done.returncode == 2
    assert "the reference (pil+pil_bilinear) is not in" in done.stderr


def test_variants_of_different_configurations_are_refused(
    command: Command, noised: Path, predictions: Path, tmp_path: Path
) -> None:
    shutil.copytree(noised, tmp_path / "imagenet")
    path = tmp_path / "imagenet" / "ffmpeg" / "manifest.json"
    summary = json.loads(path.read_text())
    summary["config"]["samples_per_shard"] += 1
    path.write_text(json.dumps(summary | {"config_sha256": digest(summary["config"])}))
    done = command("score.py", "--shards", tmp_path / "imagenet", "--predictions", predictions)
    assert done.returncode == 2
    assert "were made with different configurations" in done.stderr


def test_figures_stand_without_the_images(command: Command, noised: Path, predictions: Path, tmp_path: Path) -> None:
    """Manifests are enough to score predictions; a message says why the report has no pictures."""
    shutil.copytree(noised, tmp_path / "imagenet", ignore=shutil.ignore_patterns("*.tar"))
    done = command("score.py", "--shards", tmp_path / "imagenet", "--predictions", predictions)
    assert done.returncode == 0
    assert "no pictures in the report" in done.stderr
    assert json.loads((tmp_path / "report" / "results.json").read_text())["n"] == COUNT


def test_a_model_is_scored_and_its_predictions_are_kept(
    command: Command, noised: Path, truth: dict[str, int], tmp_path: Path
) -> None:
    """A model that classifies by mean colour; its kept predictions give the same scores without it."""
    weights = np.random.default_rng(2).normal(size=(3, 1000)).astype(np.float32)
    model = colour_model(tmp_path / "colours.onnx", weights)
    words = ["--shards", noised, "--output", tmp_path / "report", "--variant", "ffmpeg,opencv"]
    how = ["--mean", 0, "--std", 1, "--scale", "1/255", "--channels", "rgb", "--layout", "nchw"]
    done = command("score.py", *words, "--model", model)
    assert done.returncode == 2
    assert "the preprocessing of colours.onnx is incomplete" in done.stderr
    done = command("score.py", *words, "--model", model, *how)
    assert done.returncode == 0, done.stderr
    assert "opencv has the same pixels as pil_bilinear: its predictions are reused" in done.stderr
    kept = tmp_path / "report" / "predictions"
    before = {path.name: path.stat().st_mtime_ns for path in kept.glob("*.parquet")}
    first = json.loads((tmp_path / "report" / "results.json").read_text())
    done = command("score.py", *words, "--model", model, *how)
    assert "3 of 3 variants already predicted" in done.stderr
    assert {path.name: path.stat().st_mtime_ns for path in kept.glob("*.parquet")} == before
    words[3] = tmp_path / "other"
    assert command("score.py", *words, "--predictions", kept, "--name", "colours").returncode == 0
    again = json.loads((tmp_path / "other" / "results.json").read_text())
    # `scored_with` differs: here a model was run, and its options are known.
    assert first.pop("notes")[0].startswith("The reference is at chance level: 0 of 48 images are right")
    assert again.pop("notes")[0].startswith("The reference is at chance level: 0 of 48 images are right")
    # Predictions do not show the model's file.
    assert (first.pop("bytes"), first.pop("sha256")) == (model.stat().st_size, sha256(model.read_bytes()).hexdigest())
    assert (again.pop("bytes"), again.pop("sha256")) == (None, None)
    assert again == first


def test_memory_does_not_grow_with_the_number_of_samples(noised: Path, tmp_path: Path) -> None:
    """Ten times the samples (tables of 8 and 80 MB for each variant) take less extra memory than one table."""
    peaks = [_peak(noised, tmp_path / str(count), count) for count in (2_000, 20_000)]
    assert peaks[1] - peaks[0] < 50_000


def _peak(noised: Path, folder: Path, count: int) -> int:
    """The peak resident memory, in kB, of scoring made-up predictions of this many samples."""
    keys = [f"ILSVRC2012_val_{number:08d}" for number in range(count)]
    (folder / "predictions").mkdir(parents=True)
    for name in ("pil_bilinear", "ffmpeg"):
        shutil.copytree(noised / name, folder / "imagenet" / name, ignore=shutil.ignore_patterns("*.tar"))
        table = pq.read_table(noised / name / "manifest.parquet").take(np.arange(count) % COUNT)
        table = table.set_column(0, table.schema.field("key"), pa.array(keys))
        pq.write_table(table, folder / "imagenet" / name / "manifest.parquet")
        path = folder / "imagenet" / name / "manifest.json"
        summary = json.loads(path.read_text())
        summary["shards"][0]["samples"] += count - COUNT
        path.write_text(json.dumps(summary | {"totals": summary["totals"] | {"samples": count}}))
        scores = pa.array(np.random.default_rng(0).random(count * 1000, dtype=np.float32))
        rows = pa.table({"key": keys, "scores": pa.FixedSizeListArray.from_arrays(scores, 1000)})
        pq.write_table(rows, folder / "predictions" / f"{name}.parquet", compression="none")
    # Not getrusage's peak, which a process inherits from its parent.
    program = (
        "import score, sys; from pathlib import Path; status = score.main(sys.argv[1:]);"
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]); sys.exit(status)"
    )
    words = ["--shards", folder / "imagenet", "--predictions", folder / "predictions", "--output", folder / "report"]
    command = [sys.executable, "-c", program, *map(str, words), "--examples", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])
