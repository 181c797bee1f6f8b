"""A model's answers to the questions of a task: the whole way from texts to what they are worth."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.weights import model_sha256
from pipelines.evaluate.text.answers import Answers, answers_of
from pipelines.evaluate.text.causal import CausalModel, versions
from pipelines.evaluate.text.kept import kept
from pipelines.evaluate.text.likelihood import likelihoods, rows_of, taken
from pipelines.evaluate.text.longest import longest_of
from pipelines.evaluate.text.question import Questions
from pipelines.evaluate.text.tokens import Encoded, Tokens
from pipelines.progress import counted, say


@dataclass(frozen=True)
class Asking:
    """How a model is asked: by what tokens, by so many runs at a time, with no more than `batch` rows in each (None: as
    memory allows), and with entries of ONNX Runtime's session configuration.
    """

    tokens: Tokens
    workers: int
    batch: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)


def answer(questions: Questions, model: Path, asking: Asking, keep: Path) -> Answers:
    """The answers of a model's file, kept in the file `keep`; what there is to say is said.

    Raises UsageError where the model cannot be run, or is not the tokenizer's.
    """
    longest = longest_of(model, asking.tokens)
    return kept(keep, _made_by(questions, model, asking, longest), lambda: _ask(questions, model, asking, longest))


def _made_by(questions: Questions, model: Path, asking: Asking, longest: int) -> dict[str, Any]:
    return {
        "model": model_sha256(model),
        "tokenizer": asking.tokens.sha256,
        "questions": questions.sha256,
        "settings": {"batch": asking.batch, "session": dict(asking.config), "longest": longest},
        "runtime": versions(),
    }


def _ask(questions: Questions, path: Path, asking: Asking, longest: int) -> Answers:
    model = CausalModel(path, asking.config)
    encoded = _encoded(questions, model, asking.tokens)
    longest = _most(model, encoded, longest)
    rows = rows_of(encoded, longest)
    cut = sum(len(one.context) + len(one.continuation) > longest + 1 for one in encoded)
    if cut:
        say(
            f"{cut:,} of {len(rows):,} texts of {questions.task} are longer than the {longest:,} tokens that "
            f"{model.name} takes, and lose their beginning"
        )
    with counted(len(rows), "text", f"texts of {questions.task} read by {model.name}") as advance:
        found = likelihoods(model, rows, asking.batch, asking.workers, lambda more: advance(questions.task, more))
    each = iter(found)
    return answers_of(questions, [list(itertools.islice(each, len(one.requests))) for one in questions.asked], cut)


def _most(model: CausalModel, encoded: Sequence[Encoded], longest: int) -> int:
    """How many tokens a model takes, of those that it is said to, tried with the longest text."""
    if model.feeds.length:
        return min(longest, model.feeds.length)
    texts = ([*one.context, *one.continuation] for one in encoded)
    tried = max(texts, key=len)[:longest]
    found = taken(model, tried)
    return longest if found == len(tried) else found


def _encoded(questions: Questions, model: CausalModel, tokens: Tokens) -> list[Encoded]:
    """The tokens of all requests. Raises UsageError where the model does not know one of them."""
    encoded = tokens.pairs([request for question in questions.asked for request in question.requests])
    largest = max(max(*one.context, *one.continuation) for one in encoded)
    if max(largest, tokens.size - 1) >= model.vocabulary:
        raise UsageError(
            f"{tokens.path} has tokens up to {max(largest, tokens.size - 1):,}, and {model.name} knows "
            f"{model.vocabulary:,} of them: give the tokenizer that the model was trained with"
        )
    return encoded
