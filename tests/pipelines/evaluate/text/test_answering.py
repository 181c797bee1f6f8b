"""From rows to answers, compared with lm-evaluation-harness's own (`harness.json`) and with answers by hand."""

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
    expected = FACTS[task]
    asked = questions(tmp_path, task)
    found = answer(asked, folder / "model.onnx", Asking(tokens, workers=1), tmp_path / "kept.json")
    for own, theirs in zip(found.loglikelihoods, expected["loglikelihoods"], strict=True):
        assert own == pytest.approx(theirs, abs=1e-4)
    assert [list(each) for each in found.greedy] == expected["greedy"]
    assert found.acc.tolist() == expected["acc"]
    assert (None if found.acc_norm is None else found.acc_norm.tolist()) == expected["acc_norm"]
    if expected["perplexity"] is None:
        assert found.perplexity is None
    else:
        assert found.perplexity == pytest.approx(expected["perplexity"], rel=1e-5)
    assert found.cut == (task == "lambada")  # as the harness warns: one text is truncated


def test_rows_do_not_depend_on_the_rest_of_their_batch(folder: Path, tokens: Tokens, tmp_path: Path) -> None:
    asked = questions(tmp_path, "hellaswag")
    alone, together = (
        answer(asked, folder / "model.onnx", Asking(tokens, workers, batch), tmp_path / f"{batch}.json")
        for workers, batch in ((1, 1), (2, 12))
    )
    assert np.allclose(np.array(alone.loglikelihoods), np.array(together.loglikelihoods), atol=1e-4)
    assert alone.chosen.tolist() == together.chosen.tolist()


def test_cached_answers_are_reused_only_for_the_same_questions_model_and_tokenizer(
    folder: Path, tokens: Tokens, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, cache = tmp_path / "model.onnx", tmp_path / "cache" / "answers.json"
    shutil.copyfile(folder / "model.onnx", model)
    asked, asking = questions(tmp_path, "winogrande"), Asking(tokens, workers=1)

    def again(asked: Questions = asked, asking: Asking = asking) -> tuple[Answers, str]:
        capsys.readouterr()
        return answer(asked, model, asking, cache), capsys.readouterr().err

    first, printed = again()
    assert "reusing them" not in printed
    second, printed = again()
    assert "reusing them" in printed
    assert second.to_json() == first.to_json()
    assert "different tokenizer: " in again(asking=replace(asking, tokens=read_tokens(tokens.path, NO_BOS)))[1]
    assert "different questions, tokenizer: " in again(asked.first(3))[1]
    cache.write_text(cache.read_text("utf-8")[:-40], "utf-8")
    assert "damaged" in again()[1]
    made.write_model(model, tokens.size + 8)
    assert "different model: " in again()[1]


def test_a_tokenizer_of_another_model_is_refused(folder: Path, tokens: Tokens, tmp_path: Path) -> None:
    model = made.write_model(tmp_path / "small.onnx", tokens.size - 3)
    with pytest.raises(UsageError, match=r"has token ids up to 266, but the vocabulary of small\.onnx has 264"):
        answer(questions(tmp_path, "piqa"), model, Asking(tokens, workers=1), tmp_path / "kept.json")


def test_the_models_length_is_read_from_the_files_next_to_it(
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
    printed = capsys.readouterr().err
    limit = "longer than the 3 tokens that model.onnx takes"
    assert f"left out 4 of 6 questions of lambada, with an answer {limit}" in printed
    assert f"truncated the start of 2 texts of lambada {limit}" in printed
    answer(asked.first(2), hub / "model.onnx", Asking(tokens, workers=1), tmp_path / "kept.json")
    printed = capsys.readouterr().err
    assert f"left out 1 of 2 questions of lambada, with an answer {limit}" in printed
    assert f"truncated the start of 1 text of lambada {limit}" in printed
    asked, stated = questions(tmp_path, "piqa"), Asking(tokens, workers=1, longest=1)
    with pytest.raises(UsageError, match=r"model\.onnx takes 1 token, and every question of piqa has a longer answer"):
        answer(asked, hub / "model.onnx", stated, tmp_path / "kept.json")


def asked_of(metrics: tuple[str, ...], *choices: tuple[str, ...]) -> Questions:
    requests = [tuple(Request("a", f" {choice}") for choice in each) for each in choices]
    rows = [Question(str(place), own, 0, each) for place, (own, each) in enumerate(zip(requests, choices, strict=True))]
    return Questions("made", metrics, "made", rows)


def test_choices_are_compared_by_their_sums_and_by_their_lengths() -> None:
    asked = asked_of(("acc", "acc_norm"), ("four", "sixsix"), ("ää", "abc"), ("b", "c"))
    likelihoods = [[-8.0, -9.0], [-6.0, -9.3], [-1.0, -1.0]]
    found = answers_of(asked, [[Likelihood(log, False) for log in row] for row in likelihoods], 0)
    assert found.chosen.tolist() == [0, 0, 0]  # the first of equals
    assert found.acc_norm is not None
    assert found.acc_norm.tolist() == [False, True, True]  # -2 and -1.5; in characters -3 and -3.1


def test_the_last_word_is_predicted_greedily() -> None:
    asked = asked_of(("acc", "perplexity"), ("b",), ("c",))
    found = answers_of(asked, [[Likelihood(math.log(0.5), True)], [Likelihood(math.log(0.125), False)]], 0)
    assert found.acc.tolist() == [True, False]
    assert found.perplexity == pytest.approx(4)  # the root of 2 times 8
    assert found.acc_norm is None
    endless = answers_of(asked, [[Likelihood(-1e4, False)]] * 2, 0)
    assert endless.perplexity is not None
    assert math.isfinite(endless.perplexity)  # otherwise it could not be written as JSON


@pytest.mark.parametrize("name", ["acc", "loglikelihoods", "chosen"])
def test_damaged_answers_are_refused(name: str) -> None:
    asked = asked_of(("acc",), ("b", "c"), ("d", "e"))
    values = answers_of(asked, [[Likelihood(-1.0, False), Likelihood(-2.0, False)]] * 2, 0).to_json()
    assert Answers.from_json(values).to_json() == values
    with pytest.raises(ValueError, match="different lengths"):
        Answers.from_json({**values, name: values[name][:1]})
