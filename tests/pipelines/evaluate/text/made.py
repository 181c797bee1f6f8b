"""Answers as a language model gives them, made without one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.text.answers import Answers
from pipelines.evaluate.text.question import Question, Questions, Request


def questions(task: str, count: int, choices: int = 2) -> Questions:
    """Questions whose right choice is each in turn; a word to be told where there is one choice."""
    return Questions(task, "made up", [_question(place, choices) for place in range(count)])


def _question(place: int, choices: int) -> Question:
    texts = tuple(f"choice {which} <b>" for which in range(choices))
    requests = tuple(Request(f"Question {place}: what & why?", f" {text}") for text in texts)
    return Question(f"{place:06d}", requests, place % choices, texts)


def answers(
    asked: Questions, right: NDArray[np.bool_], norm: NDArray[np.bool_] | None = None, bias: float = 0.0
) -> Answers:
    """Answers that are right where they are to be; `bias` is added to each log-likelihood."""
    rows, chosen = [], []
    for place, (question, hit) in enumerate(zip(asked.asked, right.tolist(), strict=True)):
        count = len(question.requests)
        choice = question.gold if hit else (question.gold + 1) % count
        rows.append(tuple(bias - 2 - place % 5 - (which != choice) for which in range(count)))
        chosen.append(choice)
    told = len(asked.asked[0].requests) == 1
    return Answers(
        task=asked.task,
        keys=asked.keys,
        loglikelihoods=tuple(rows),
        greedy=tuple((bool(hit),) * len(row) for hit, row in zip(right, rows, strict=True)),
        chosen=np.array(chosen, np.int64),
        acc=right,
        acc_norm=norm,
        perplexity=math.exp(-float(np.mean([row[0] for row in rows]))) if told else None,
    )
