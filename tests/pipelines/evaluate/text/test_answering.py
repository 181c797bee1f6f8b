"""The whole way from rows to answers, against lm-evaluation-harness's own (`harness.json`), and by hand."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import UsageError
from pipelines.evaluate.text.answering import Asking, answer
from pipelines.evaluate.text.answers import Answers, Likelihood, answers_of
from pipelines.evaluate.text.bos import NO_BOS
from pipelines.evaluate.text.data import read_questions
from pipelines.evaluate.text.question import Question, Questions, Request
from pipelines.evaluate.text.row import HARNESS
from pipelines.evaluate.text.tasks import TASKS, task_of
from pipelines.evaluate.text.tokens import Tokens, read_tokens
from tests.pipelines.evaluate.text import made

FACTS: Mapping[str, Any] = json.loads(Path(__file__).with_name("harness.json").read_text("utf-8"))


def questions(folder: Path, task: str) -> Questions:
    return read_questions(task, str(made.write_rows(folder / f"{task}.jsonl", made.ROWS[task])))


@pytest.mark.parametrize("task", [name for name in TASKS if task_of(name).FORMS[0].protocol.startswith(HARNESS)])
def test_answers_are_those_of_the_harness(folder: Path, tokens: Tokens, tmp_path: Path, task: str) -> None:
    told = FACTS[task]
    asked = questions(tmp_path, task)
    found = answer(asked, folder / "model.onnx", Asking(tokens, workers=1), tmp_path / "kept.json")
    for own, theirs in zip(found.loglikelihoods, told["loglikelihoods"], strict=True):
        assert own == pytest.approx(theirs, abs=1e-4)
    assert [list(each) for each in found.greedy] == told["greedy"]
    assert found.acc.tolist() == told["acc"]
    assert (None if found.acc_norm is None else found.acc_norm.tolist()) == told["acc_norm"]
    if told["perplexity"] is None:
        assert found.perplexity is None
    else:
        assert found.perplexity == pytest.approx(told["perplexity"], rel=1e-5)
    assert found.cut == (task == "lambada")  # the harness's own words: one text is truncated


def test_rows_do_not_depend_on_those_beside_them(folder: Path, tokens: Tokens, tmp_path: Path) -> None:
    asked = questions(tmp_path, "hellaswag")
    alone, together = (
        answer(asked, folder / "model.onnx", Asking(tokens, workers, batch), tmp_path / f"{batch}.json")
        for workers, batch in ((1, 1), (2, 12))
    )
    assert np.allclose(np.array(alone.loglikelihoods), np.array(together.loglikelihoods), atol=1e-4)
    assert alone.chosen.tolist() == together.chosen.tolist()


def test_kept_answers_are_used_again_only_where_nothing_else_was_asked(
    folder: Path, tokens: Tokens, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, keep = tmp_path / "model.onnx", tmp_path / "kept" / "answers.json"
    shutil.copyfile(folder / "model.onnx", model)
    asked, asking = questions(tmp_path, "winogrande"), Asking(tokens, workers=1)

    def again(asked: Questions = asked, asking: Asking = asking) -> tuple[Answers, str]:
        capsys.readouterr()
        return answer(asked, model, asking, keep), capsys.readouterr().err

    first, said = again()
    assert "used again" not in said
    second, said = again()
    assert "used again" in said
    assert second.to_json() == first.to_json()
    assert "another tokenizer" in again(asking=replace(asking, tokens=read_tokens(tokens.path, NO_BOS)))[1]
    assert "another questions, tokenizer" in again(asked.first(3))[1]
    keep.write_text(keep.read_text("utf-8")[:-40], "utf-8")
    assert "damaged" in again()[1]
    made.write_model(model, tokens.size + 8)
    assert "another model" in again()[1]


def test_a_tokenizer_of_another_model_is_refused(folder: Path, tokens: Tokens, tmp_path: Path) -> None:
    model = made.write_model(tmp_path / "small.onnx", tokens.size - 3)
    with pytest.raises(UsageError, match=r"has tokens up to 266, and small\.onnx knows 264"):
        answer(questions(tmp_path, "piqa"), model, Asking(tokens, workers=1), tmp_path / "kept.json")


def test_the_models_length_is_what_is_written_beside_it(
    folder: Path, tokens: Tokens, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = tmp_path / "onnx"
    hub.mkdir()
    shutil.copyfile(folder / "model.onnx", hub / "model.onnx")
    asked = questions(tmp_path, "lambada")
    for config in ({"n_positions": 30}, {"text_config": {"max_position_embeddings": 30}, "n_ctx": 9}):
        (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
        found = answer(asked, hub / "model.onnx", Asking(tokens, workers=1), tmp_path / "kept.json")
        assert found.cut == 3
    (tmp_path / "config.json").write_text('{"n_positions": 3}', "utf-8")
    found = answer(asked, hub / "model.onnx", Asking(tokens, workers=1), tmp_path / "kept.json")
    assert found.keys == ("000001", "000003")  # whose last words are `sea` and `the`
    assert len(found.acc) == len(found.loglikelihoods) == 2
    assert "4 of 6 questions of lambada are left out: one of their answers alone is longer" in capsys.readouterr().err
    asked, stated = questions(tmp_path, "piqa"), Asking(tokens, workers=1, longest=1)
    with pytest.raises(UsageError, match=r"model\.onnx takes 1 tokens, which no answer of piqa fits in"):
        answer(asked, hub / "model.onnx", stated, tmp_path / "kept.json")


def asked_of(metrics: tuple[str, ...], *choices: tuple[str, ...]) -> Questions:
    requests = [tuple(Request("a", f" {choice}") for choice in each) for each in choices]
    rows = [Question(str(place), own, 0, each) for place, (own, each) in enumerate(zip(requests, choices, strict=True))]
    return Questions("made", metrics, "made", rows)


def test_choices_are_compared_by_their_sums_and_by_their_lengths() -> None:
    asked = asked_of(("acc", "acc_norm"), ("four", "sixsix"), ("ää", "abc"), ("b", "c"))
    likelihoods = [[-8.0, -9.0], [-6.0, -9.3], [-1.0, -1.0]]
    found = answers_of(asked, [[Likelihood(log, False) for log in row] for row in likelihoods], 0)
    assert found.chosen.tolist() == [0, 0, 0]  # of equals the first
    assert found.acc_norm is not None
    assert found.acc_norm.tolist() == [False, True, True]  # -2 and -1.5; in characters -3 and -3.1


def test_the_last_word_is_told_greedily() -> None:
    asked = asked_of(("acc", "perplexity"), ("b",), ("c",))
    found = answers_of(asked, [[Likelihood(math.log(0.5), True)], [Likelihood(math.log(0.125), False)]], 0)
    assert found.acc.tolist() == [True, False]
    assert found.perplexity == pytest.approx(4)  # the root of 2 times 8
    assert found.acc_norm is None
    endless = answers_of(asked, [[Likelihood(-1e4, False)]] * 2, 0)
    assert endless.perplexity is not None
    assert math.isfinite(endless.perplexity)  # or it could not be written as JSON


@pytest.mark.parametrize("name", ["acc", "loglikelihoods", "chosen"])
def test_damaged_answers_are_no_answers(name: str) -> None:
    asked = asked_of(("acc",), ("b", "c"), ("d", "e"))
    values = answers_of(asked, [[Likelihood(-1.0, False), Likelihood(-2.0, False)]] * 2, 0).to_json()
    assert Answers.from_json(values).to_json() == values
    with pytest.raises(ValueError, match="several lengths"):
        Answers.from_json({**values, name: values[name][:1]})
