"""A model's answers to the questions of a task: the whole way from texts to what they are worth."""

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
from pipelines.evaluate.text.causal import CausalModel, versions
from pipelines.evaluate.text.kept import kept
from pipelines.evaluate.text.likelihood import likelihoods, rows_of, taken
from pipelines.evaluate.text.longest import longest_of
from pipelines.evaluate.text.question import Questions
from pipelines.evaluate.text.tokens import Encoded, Tokens
from pipelines.progress import counted, say

_ROOT = Path(__file__).resolve().parents[3]
# The code that decides what is asked and what answers are worth.
_CODE = tuple(
    f"pipelines/evaluate/text/{name}"
    for name in ("answering.py", "answers.py", "causal.py", "feeds.py", "likelihood.py", "tokens.py")
)


@dataclass(frozen=True)
class Asking:
    """How a model is asked: by what tokens, by so many runs at a time, with no more than `batch` rows in each (None: as
    memory allows), with entries of ONNX Runtime's session configuration, and in texts of no more than `longest` tokens
    (None: as what lies beside the model says).
    """

    tokens: Tokens
    workers: int
    batch: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    longest: int | None = None


def answer(questions: Questions, model: Path, asking: Asking, keep: Path) -> Answers:
    """The answers of a model's file, kept in the file `keep`; what there is to say is said.

    A question with an answer of more tokens than the model takes has none: lm-evaluation-harness stops there.

    Raises UsageError where the model cannot be run, or is not the tokenizer's.
    """
    longest = longest_of(model, asking.tokens) if asking.longest is None else asking.longest
    return kept(keep, _made_by(questions, model, asking, longest), lambda: _ask(questions, model, asking, longest))


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
    for line in _said(questions, len(fitting), cut, f"the {longest:,} tokens that {model.name} takes"):
        say(line)
    if not texts:
        raise UsageError(f"{model.name} takes {longest:,} tokens, which no answer of {questions.task} fits in")
    with counted(len(texts), "text", f"texts read by {model.name}") as advance:
        found = likelihoods(
            model,
            rows_of(texts, longest),
            asking.batch,
            asking.workers,
            lambda more: advance(questions.task, more),
        )
    each = iter(found)
    return answers_of(asked, [list(itertools.islice(each, len(one.requests))) for one in asked.asked], cut)


def _said(questions: Questions, fitting: int, cut: int, most: str) -> Iterator[str]:
    """What there is to say of questions that do not fit into `most`."""
    if left_out := len(questions.asked) - fitting:
        yield (
            f"{left_out:,} of {len(questions.asked):,} questions of {questions.task} are left out: one of their "
            f"answers alone is longer than {most}"
        )
    if cut:
        yield f"{cut:,} texts of {questions.task} are longer than {most}, and lose their beginning"


def _most(model: CausalModel, encoded: Sequence[Encoded], longest: int) -> int:
    """How many tokens a model takes, of those that it is said to, tried with the longest text."""
    if model.feeds.length:
        return min(longest, model.feeds.length)
    texts = ([*one.context, *one.continuation] for one in encoded)
    tried = max(texts, key=len)[:longest]
    found = taken(model, tried)
    return longest if found == len(tried) else found


def _encoded(questions: Questions, model: CausalModel, tokens: Tokens) -> dict[str, list[Encoded]]:
    """The tokens of each question's requests, by its key. Raises UsageError where the model does not know one."""
    pairs = tokens.pairs([request for question in questions.asked for request in question.requests])
    largest = max(tokens.size - 1, *(max(*one.context, *one.continuation) for one in pairs))
    if largest >= model.vocabulary:
        raise UsageError(
            f"{tokens.path} has tokens up to {largest:,}, and {model.name} knows {model.vocabulary:,} of them: give "
            "the tokenizer that the model was trained with"
        )
    each = iter(pairs)
    return {question.key: list(itertools.islice(each, len(question.requests))) for question in questions.asked}
