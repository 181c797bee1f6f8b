"""The texts on which `int8` calibrates a language model: the first questions of each task, in turn.

Each text is a question with its first choice, whether that is right or not. Texts run one at a time, since padding
would affect the ranges.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipelines.evaluate.model.noised import Images
from pipelines.evaluate.text.causal import CausalModel
from pipelines.evaluate.text.feeds import Array
from pipelines.evaluate.text.likelihood import rows_of, taken
from pipelines.evaluate.text.question import Question, Questions
from pipelines.evaluate.text.tokens import Tokens


def calibration(asked: Sequence[Questions], tokens: Tokens, longest: int, model: CausalModel, count: int) -> Images:
    """The first `count` texts as the model's inputs, of at most `longest` tokens, and the facts recorded about them."""
    chosen = list(itertools.islice(_in_turn(asked), count))
    encoded = tokens.pairs([question.requests[0] for _, question in chosen])
    whole = [row.tokens for row in rows_of(encoded, longest)]
    most = model.feeds.length or taken(model, max(whole, key=len))
    rows = [row[-most:] for row in whole]

    def read() -> Iterator[Mapping[str, Array]]:
        return (model.feeds.of([row]) for row in rows)

    facts = [
        {"task": task, "key": question.key, "tokens_sha256": _digest(row)}
        for (task, question), row in zip(chosen, rows, strict=True)
    ]
    return Images(read, {"tokenizer": tokens.sha256, "texts": facts})


def _in_turn(asked: Sequence[Questions]) -> Iterator[tuple[str, Question]]:
    """The tasks' first questions, then their second ones, and so on, each with its task's name."""
    for row in itertools.zip_longest(*([(own.task, question) for question in own.asked] for own in asked)):
        yield from filter(None, row)


def _digest(row: Sequence[int]) -> str:
    return hashlib.sha256(np.array(row, "<i8").tobytes()).hexdigest()
