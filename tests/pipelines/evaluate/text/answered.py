"""Answers of a language model, made without one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.text.answers import Answers
from pipelines.evaluate.text.question import Question, Questions, Request

Hits = NDArray[np.bool_]


def questions(task: str, count: int, choices: int = 2, metrics: tuple[str, ...] = ("acc",)) -> Questions:
    """Questions whose right choices alternate; with one choice, a word is to be predicted."""
    return Questions(task, metrics, "made up", [_question(place, choices) for place in range(count)])


def _question(place: int, choices: int) -> Question:
    texts = tuple(f"choice {which} <i>" for which in range(choices))
    requests = tuple(Request(f"Question {place}:\n<b>what & why?", f" {text}") for text in texts)
    return Question(f"{place:06d}", requests, place % choices, texts)


def answers(
    asked: Questions, right: Hits, norm: Hits | None = None, logs: NDArray[np.float64] | None = None
) -> Answers:
    """Answers that are right as given by `right`; `logs` are the log-likelihoods of the chosen answers."""
    logs = np.full(len(right), -1.0) if logs is None else logs
    rows, chosen = [], []
    for question, hit, log in zip(asked.asked, right.tolist(), logs.tolist(), strict=True):
        count = len(question.requests)
        choice = question.gold if hit else (question.gold + 1) % count
        rows.append(tuple(log - (which != choice) for which in range(count)))
        chosen.append(choice)
    return Answers(
        task=asked.task,
        keys=asked.keys,
        loglikelihoods=tuple(rows),
        greedy=tuple((hit,) * len(row) for hit, row in zip(right.tolist(), rows, strict=True)),
        chosen=np.array(chosen, np.int64),
        acc=right,
        acc_norm=norm,
        perplexity=math.exp(-logs.mean()) if "perplexity" in asked.metrics else None,
        cut=0,
    )
