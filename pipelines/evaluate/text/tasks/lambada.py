"""LAMBADA: the last word of a passage (Paperno et al., ACL 2016), predicted greedily.

As in lm-evaluation-harness (lm_eval/tasks/lambada/lambada_openai.yaml): the last word follows the last space.
llm-foundry's rows are the same, already split.
"""

from __future__ import annotations

from pipelines.evaluate.text.question import Request
from pipelines.evaluate.text.row import HARNESS, Asked, Form, Row, RowError, text

METRICS = ("acc", "perplexity")


def _hub(row: Row) -> Asked:
    context, _, word = text(row, "text").rpartition(" ")
    if not word:
        raise RowError("`text` ends in a space, where its last word should be")
    return _asked(context, word)


def _foundry(row: Row) -> Asked:
    return _asked(text(row, "context").strip(), text(row, "continuation").strip())


def _asked(context: str, word: str) -> Asked:
    return Asked((Request(context, f" {word}"),), 0, (word,))


FORMS = (
    Form(("text",), HARNESS, _hub),
    Form(("context", "continuation"), f"{HARNESS}, from llm-foundry's rows", _foundry),
)
