"""HellaSwag: which of four endings a description has (Zellers et al., ACL 2019).

Texts are cleaned and put together as lm-evaluation-harness does (lm_eval/tasks/hellaswag/utils.py). What of it a row
cannot have is said: `ctx` and llm-foundry's `query` are made already, and in them the second sentence, which the
harness begins with a capital (and writes small from there on), is as it was.
"""

from __future__ import annotations

import re

from pipelines.evaluate.text.row import HARNESS, Asked, Form, Row, RowError, among, label, text, texts

METRICS = ("acc", "acc_norm")
_CHOICES = 4
_UNCAPITALISED = f"{HARNESS}, but that second sentences begin as they are written"


def _cleaned(words: str) -> str:
    """Without what WikiHow's markup left behind."""
    titled = words.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", titled).replace("  ", " ")


def _parts(row: Row) -> Asked:
    second = row["ctx_b"]
    if not isinstance(second, str):  # it may be empty: WikiHow's rows are whole in ctx_a
        raise RowError("`ctx_b` is no text")
    return _hub(row, f"{text(row, 'ctx_a')} {second.capitalize()}")


def _whole(row: Row) -> Asked:
    return _hub(row, text(row, "ctx"))


def _hub(row: Row, context: str) -> Asked:
    choices = tuple(_cleaned(ending) for ending in texts(row, "endings", _CHOICES))
    return among(
        _cleaned(f"{text(row, 'activity_label')}: {context}"), " ", _full(choices), label(row, "label", _CHOICES)
    )


def _foundry(row: Row) -> Asked:
    choices = tuple(choice.strip() for choice in texts(row, "choices", _CHOICES))
    return among(text(row, "query").strip(), " ", choices, label(row, "gold", _CHOICES))


def _full(choices: tuple[str, ...]) -> tuple[str, ...]:
    """The same; nothing may be left empty, since `acc_norm` divides by its length."""
    if not all(choices):
        raise RowError("`endings` has one of nothing but [brackets]")
    return choices


FORMS = (
    Form(("activity_label", "ctx_a", "ctx_b", "endings", "label"), HARNESS, _parts),
    Form(("activity_label", "ctx", "endings", "label"), _UNCAPITALISED, _whole),
    Form(("query", "choices", "gold"), f"{_UNCAPITALISED}, of llm-foundry's rows", _foundry),
)
