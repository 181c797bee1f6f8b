"""`score.py text` from its command line to its report, with a language model made in code; and its refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

import score
from generators.registry import METHODS
from pipelines.errors import UsageError
from pipelines.evaluate.text.asked import asked_noise
from tests.pipelines.evaluate.text import made

TASKS = ("piqa", "lambada", "winogrande")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its tokenizer, and questions of each task."""
    folder = tmp_path_factory.mktemp("text")
    tokenizer = made.tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "bare").mkdir()
    for name in ("net.onnx", "bare/net.onnx"):
        made.write_model(folder / name, tokenizer.get_vocab_size())
    for task in TASKS:
        made.write_rows(folder / f"{task}.jsonl", made.ROWS[task])
    return folder


def run(place: Path, *words: object, tasks: Sequence[str] = TASKS) -> int:
    pairs = [word for task in tasks for word in ("--task", task, "--data", place / f"{task}.jsonl")]
    given = ["text", *pairs, "--workers", 1, "--output", place / "report", *words]
    return score.main([str(word) for word in given])


def report(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "report" / "results.json").read_text("utf-8"))
    return found


def test_a_run_writes_a_report_and_reuses_its_answers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", place / "net.onnx", "--variant", "precision", "--name", "a net", "--calibration", 17)
    assert run(place, *words) == 0
    out, err = capsys.readouterr()
    found = report(place)
    precision = [token for token, method in METHODS.items() if method.stage == "precision"]
    assert list(found["tasks"]) == list(TASKS)
    for task, own in found["tasks"].items():
        assert own["n"] == len(made.ROWS[task])
        assert list(own["variants"]) == ["fp32", *precision]
        assert own["variants"]["int8"]["delta"] == own["variants"]["fp32"]["acc"] - own["variants"]["int8"]["acc"]
    assert not found["not_applicable"]
    assert "a net on piqa (5 questions), lambada (6), winogrande (4)" in out
    assert "int8 and int8_tensor were calibrated on 15 of these same texts." in out
    assert "lambada: truncated the start of 1 text longer than the model takes." in out
    assert "again" not in err
    about = json.loads((place / "report" / "models" / "net" / "int8.json").read_text("utf-8"))
    taken = [(text["task"], text["key"]) for text in about["calibration"]["texts"]]
    assert taken[:4] == [*((task, "000000") for task in TASKS), ("piqa", "000001")]
    assert len(set(taken)) == 15

    assert run(place, *words) == 0
    again, err = capsys.readouterr()
    assert again == out
    assert err.count("reusing them") == len(TASKS) * (1 + len(precision))
    assert run(place, *words, "--limit", 2, tasks=("piqa",)) == 0
    _, err = capsys.readouterr()
    assert "made with different questions" in err
    assert report(place)["tasks"]["piqa"]["n"] == 2

    quantised = ("--model", place / "report" / "models" / "net" / "int8.onnx", "--tokenizer", place / "tokenizer.json")
    assert run(place, *quantised, "--variant", "int8", tasks=("piqa",)) == 2
    assert "int8 does not apply to int8.onnx: it is quantised already" in capsys.readouterr().err


def test_without_variants_only_the_model_itself_is_scored(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "--model", place / "net.onnx", "--output", place / "alone", tasks=("winogrande",)) == 0
    assert "Only fp32 was scored" in capsys.readouterr().out


def test_noise_that_breaks_the_model_is_reported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights outside float16's range make logits infinite; the other variants are scored."""
    model = onnx.load(place / "net.onnx")
    (follows,) = (one for one in model.graph.initializer if one.name == "next")
    follows.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(follows) * 1e5, "next"))
    onnx.save(model, place / "large.onnx")
    words = ("--model", place / "large.onnx", "--variant", "fp16,int8_dynamic", "--output", place / "large")
    assert run(place, *words, tasks=("winogrande",)) == 0
    out, err = capsys.readouterr()
    found = json.loads((place / "large" / "results.json").read_text("utf-8"))
    assert list(found["tasks"]["winogrande"]["variants"]) == ["fp32", "int8_dynamic"]
    assert "NaN or infinite" in found["not_applicable"]["fp16"]
    assert "not scored: fp16" in err
    assert "FP16 (Δ) –: fp16.onnx returns logits that are NaN or infinite" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--model", "{place}"], "is not a file: give a transformers folder as hf:"),
        (["--model", "{place}/none.onnx"], "none.onnx is not a file: give an ONNX file or hf:FOLDER"),
        (["--model", "{place}/net.onnx", "--variant", "ceil_mode"], "ceil_mode: text has only precision noise"),
        (["--model", "{place}/net.onnx", "--variant", "model"], "model: text has only precision noise"),
        (["--model", "{place}/net.onnx", "--variant", "pil_box+int8"], "text has only precision noise"),
        (["--model", "{place}/net.onnx", "--variant", "int9"], "did you mean int8"),
        (["--model", "{place}/net.onnx", "--task", "piqa", "--data", "x"], "--task piqa is given twice"),
        (["--model", "{place}/net.onnx", "--data", "x"], "1 --task and 2 --data: give each task its file"),
        (["--model", "{place}/bare/net.onnx"], "bare/tokenizer.json does not exist: give --tokenizer FILE"),
        (["--model", "hf:{place}/none"], "is not a folder"),
        (["--model", "hf:{place}"], "has no config.json"),
        (["--model", "{place}/net.onnx", "--output", "s3://b/r"], "--output s3://b/r"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    given = [word.format(place=place) for word in words]
    try:
        status = run(
            place, *(["--output", place / "refused"] if "--output" not in given else []), *given, tasks=("piqa",)
        )
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    out, err = capsys.readouterr()
    assert status == 2
    assert not out
    assert line in err.splitlines()[-1]
    assert not (place / "refused").exists()


def test_groups_stand_for_methods_of_the_precision_stage_only() -> None:
    assert [method.token for method in asked_noise(["paper"])[0]] == ["fp16", "int8"]
    methods, named = asked_noise(["reference", "precision,int8"])
    assert {method.stage for method in methods} == {"precision"}
    assert named == {"int8"}
    with pytest.raises(UsageError, match="fp16 and int8: keep one"):
        asked_noise(["fp16+int8"])
