"""Questions: what a language model is asked, and how the answer is told. Knows no task, no file and no model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple


class Request(NamedTuple):
    """What is asked of a model: how likely the continuation is after the context."""

    context: str
    continuation: str


class Question(NamedTuple):
    """A row of a task: a request for each choice, in order; one alone where a word is to be told greedily.

    `gold` is the right one's place among them. `choices` are the answers as they are read, and as long as what
    `acc_norm` divides by: the continuations without what joins them to a context, or the two sentences' beginnings of
    WinoGrande. `key` is the row's place in its file (`000000`, …).
    """

    key: str
    requests: tuple[Request, ...]
    gold: int
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Questions:
    """The questions of one task, in the order of their file.

    `metrics` are what answers to them are worth: `acc`, and with it `acc_norm` or `perplexity` where the task has such.
    `protocol` says in a few words whose prompts they have.
    """

    task: str
    metrics: tuple[str, ...]
    protocol: str
    asked: Sequence[Question]

    def first(self, count: int | None) -> Questions:
        """The first `count` of them; all where that is None."""
        return self if count is None else replace(self, asked=self.asked[:count])

    def only(self, keys: Collection[str]) -> Questions:
        """Those of these keys, in their order."""
        return replace(self, asked=[question for question in self.asked if question.key in keys])

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(question.key for question in self.asked)

    @property
    def sha256(self) -> str:
        """Of all that decides answers to them: two runs with the same one can be compared question by question."""
        rows = [[self.task], *self.asked]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=True).encode()).hexdigest()
