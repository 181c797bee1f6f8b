"""How a model answers a task's questions: from texts to scored answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifests.provenance import code_sha256
from pipelines.errors import UsageError
from pipelines.evaluate.model.weights import model_sha256
from pipelines.evaluate.text.answers import Answers, answers_of
from pipelines.evaluate.text.cache import cached
from pipelines.evaluate.text.causal import CausalModel, versions
from pipelines.evaluate.text.likelihood import likelihoods, rows_of, taken
from pipelines.evaluate.text.longest import longest_of
from pipelines.evaluate.text.question import Questions
from pipelines.evaluate.text.tokens import Encoded, Tokens
from pipelines.progress import counted, say
from pipelines.text import number_of

_ROOT = Path(__file__).resolve().parents[3]
# The code that decides what is asked and how answers are scored.
_CODE = tuple(
    f"pipelines/evaluate/text/{name}"
    for name in ("answering.py", "answers.py", "causal.py", "feeds.py", "likelihood.py", "tokens.py")
)


@dataclass(frozen=True)
class Asking:
    """How a model is asked: with a tokenizer, in `workers` runs at a time of at most `batch` rows (None: as many as
    memory allows), and in texts of at most `longest` tokens (None: as the files next to the model say). `config` has
    entries of ONNX Runtime's session configuration.
    """

    tokens: Tokens
    workers: int
    batch: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    longest: int | None = None


def answer(questions: Questions, model: Path, asking: Asking, cache: Path) -> Answers:
    """The model's answers, cached in the file `cache`. Reports questions left out and texts truncated.

    A question is left out if one of its answers has more tokens than the model takes: lm-evaluation-harness stops
    there. Raises UsageError if the model cannot be run, or was not trained with this tokenizer.
    """
    longest = longest_of(model, asking.tokens) if asking.longest is None else asking.longest
    return cached(cache, _made_by(questions, model, asking, longest), lambda: _ask(questions, model, asking, longest))


def _made_by(questions: Questions, model: Path, asking: Asking, longest: int) -> dict[str, Any]:
    return {
        "model": model_sha256(model),
        "tokenizer": asking.tokens.sha256,
        "questions": questions.sha256,
        "settings": {"batch": asking.batch, "session": dict(asking.config), "longest": longest},
        "runtime": versions(),
        "code_sha256": code_sha256(_ROOT, _CODE),
    }


def _ask(questions: Questions, path: Path, asking: Asking, longest: int) -> Answers:
    model = CausalModel(path, asking.config)
    encoded = _encoded(questions, model, asking.tokens)
    longest = _most(model, list(itertools.chain(*encoded.values())), longest)
    fitting = {key: each for key, each in encoded.items() if all(len(one.continuation) <= longest for one in each)}
    asked = questions.only(fitting)
    texts = list(itertools.chain(*fitting.values()))
    cut = sum(len(one.context) + len(one.continuation) > longest + 1 for one in texts)
    for line in _notes(questions, len(fitting), cut, f"the {number_of(longest, 'token')} that {model.name} takes"):
        say(line)
    if not texts:
        raise UsageError(
            f"{model.name} takes {number_of(longest, 'token')}, and every question of {questions.task} has a longer "
            "answer: give a model that takes longer texts"
        )
    with counted(len(texts), "text", f"texts scored by {model.name}") as advance:
        found = likelihoods(
            model,
            rows_of(texts, longest),
            asking.batch,
            asking.workers,
            lambda more: advance(questions.task, more),
        )
    each = iter(found)
    return answers_of(asked, [list(itertools.islice(each, len(one.requests))) for one in asked.asked], cut)


def _notes(questions: Questions, fitting: int, cut: int, limit: str) -> Iterator[str]:
    """What happens to questions and texts that exceed `limit`."""
    if left_out := len(questions.asked) - fitting:
        yield (
            f"left out {left_out:,} of {number_of(len(questions.asked), 'question')} of {questions.task}, with an "
            f"answer longer than {limit}"
        )
    if cut:
        yield f"truncated the start of {number_of(cut, 'text')} of {questions.task} longer than {limit}"


def _most(model: CausalModel, encoded: Sequence[Encoded], longest: int) -> int:
    """How many tokens a model takes, up to the stated `longest`; tried with the longest text."""
    if model.feeds.length:
        return min(longest, model.feeds.length)
    texts = ([*one.context, *one.continuation] for one in encoded)
    tried = max(texts, key=len)[:longest]
    found = taken(model, tried)
    return longest if found == len(tried) else found


def _encoded(questions: Questions, model: CausalModel, tokens: Tokens) -> dict[str, list[Encoded]]:
    """Each question's tokenised requests, by its key. Raises UsageError if a token is not in the model's vocabulary."""
    pairs = tokens.pairs([request for question in questions.asked for request in question.requests])
    largest = max(tokens.size - 1, *(max(*one.context, *one.continuation) for one in pairs))
    if largest >= model.vocabulary:
        raise UsageError(
            f"{tokens.path} has token ids up to {largest:,}, but the vocabulary of {model.name} has "
            f"{model.vocabulary:,}: give the tokenizer that the model was trained with"
        )
    each = iter(pairs)
    return {question.key: list(itertools.islice(each, len(question.requests))) for question in questions.asked}
