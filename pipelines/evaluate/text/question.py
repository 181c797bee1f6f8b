"""Questions for a language model, and their answers. Knows nothing of tasks, files or models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple


class Request(NamedTuple):
    """Asks a model how likely a continuation is after a context."""

    context: str
    continuation: str


class Question(NamedTuple):
    """A row of a task: a request for each choice, in order; a single one if a word is to be predicted greedily.

    `gold` is the index of the right choice. `choices` are the answers, by whose length `acc_norm` divides: the
    continuations without the delimiter after the context, or WinoGrande's two sentence beginnings. `key` is the row's
    number in its file (`000000`, …).
    """

    key: str
    requests: tuple[Request, ...]
    gold: int
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Questions:
    """The questions of one task, in the order of their file.

    `metrics` are `acc` and, if the task has it, `acc_norm` or `perplexity`. `protocol` says in a few words whose
    prompts these are.
    """

    task: str
    metrics: tuple[str, ...]
    protocol: str
    asked: Sequence[Question]

    def first(self, count: int | None) -> Questions:
        """The first `count` of them; all if that is None."""
        return self if count is None else replace(self, asked=self.asked[:count])

    def only(self, keys: Collection[str]) -> Questions:
        """Those with these keys, in their order."""
        return replace(self, asked=[question for question in self.asked if question.key in keys])

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(question.key for question in self.asked)

    @property
    def sha256(self) -> str:
        """Of everything that determines the answers: runs with the same digest can be compared question by question."""
        rows = [[self.task], *self.asked]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=True).encode()).hexdigest()
