"""A model's answers to a task's questions, scored as lm-evaluation-harness does."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.text.question import Questions


class Likelihood(NamedTuple):
    """How likely a continuation is: the sum of its tokens' natural log-likelihoods, and whether greedy decoding would
    give it.
    """

    log: float
    is_greedy: bool


@dataclass(frozen=True)
class Answers:
    """A model's answers to `n` questions, in their order.

    `loglikelihoods` and `greedy` have a value for each request of each question. `chosen` (int64) is the index of the
    likeliest choice, `acc` (bool) whether it is right, `acc_norm` the same for likelihoods divided by the choices'
    lengths; all of shape (n,). For LAMBADA, `acc` is whether greedy decoding gives the last word, and `perplexity` is
    that of the last words. Metrics that a task lacks (`Questions.metrics`) are None. `cut` requests were longer than
    the model takes, so that the start of their context was truncated.
    """

    task: str
    keys: tuple[str, ...]
    loglikelihoods: tuple[tuple[float, ...], ...]
    greedy: tuple[tuple[bool, ...], ...]
    chosen: NDArray[np.int64]
    acc: NDArray[np.bool_]
    acc_norm: NDArray[np.bool_] | None
    perplexity: float | None
    cut: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, which `from_json` reads."""
        return {
            "task": self.task,
            "keys": list(self.keys),
            "loglikelihoods": [list(row) for row in self.loglikelihoods],
            "greedy": [list(row) for row in self.greedy],
            "chosen": self.chosen.tolist(),
            "acc": self.acc.tolist(),
            "acc_norm": None if self.acc_norm is None else self.acc_norm.tolist(),
            "perplexity": self.perplexity,
            "cut": self.cut,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Answers:
        """Raises KeyError, TypeError or ValueError if the values are not answers."""
        norm = values["acc_norm"]
        found = cls(
            task=str(values["task"]),
            keys=tuple(map(str, values["keys"])),
            loglikelihoods=tuple(tuple(map(float, row)) for row in values["loglikelihoods"]),
            greedy=tuple(tuple(map(bool, row)) for row in values["greedy"]),
            chosen=np.array(values["chosen"], np.int64),
            acc=np.array(values["acc"], np.bool_),
            acc_norm=None if norm is None else np.array(norm, np.bool_),
            perplexity=None if values["perplexity"] is None else float(values["perplexity"]),
            cut=int(values["cut"]),
        )
        arrays = [found.chosen, found.acc, *([] if found.acc_norm is None else [found.acc_norm])]
        if {(len(found.loglikelihoods),), (len(found.greedy),), *(array.shape for array in arrays)} != {
            (len(found.keys),)
        }:
            raise ValueError("the answers have different lengths")
        return found


def answers_of(questions: Questions, likelihoods: Sequence[Sequence[Likelihood]], cut: int) -> Answers:
    """Score the likelihoods of each question's requests, in order; `cut` requests were truncated.

    As in lm-evaluation-harness 0.4.13 (`ConfigurableTask.process_results` and `metrics.perplexity`): the first of
    equal likelihoods is chosen, and `acc_norm` divides by a choice's length in characters, which older versions and
    the documentation call bytes.
    """
    logs = [np.array([one.log for one in row], np.float64) for row in likelihoods]
    gold = np.array([question.gold for question in questions.asked], np.int64)
    chosen = np.array([np.argmax(row) for row in logs], np.int64)
    greedily = "perplexity" in questions.metrics
    return Answers(
        task=questions.task,
        keys=questions.keys,
        loglikelihoods=tuple(tuple(row.tolist()) for row in logs),
        greedy=tuple(tuple(one.is_greedy for one in row) for row in likelihoods),
        chosen=chosen,
        acc=np.array([row[0].is_greedy for row in likelihoods], np.bool_) if greedily else chosen == gold,
        acc_norm=_by_length(questions, logs) == gold if "acc_norm" in questions.metrics else None,
        perplexity=_perplexity(logs) if greedily else None,
        cut=cut,
    )


def _perplexity(logs: Sequence[NDArray[np.float64]]) -> float:
    """The perplexity of the last words, capped at the largest float."""
    return math.exp(min(-float(np.mean(np.concatenate(logs))), math.log(sys.float_info.max)))


def _by_length(questions: Questions, logs: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    """The choice of each question with the highest log-likelihood per character."""
    lengths = [np.array([len(choice) for choice in question.choices]) for question in questions.asked]
    return np.array([np.argmax(row / length) for row, length in zip(logs, lengths, strict=True)], np.int64)
