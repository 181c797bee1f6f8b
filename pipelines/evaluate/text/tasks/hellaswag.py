"""HellaSwag: which of four endings continues a description (Zellers et al., ACL 2019).

Texts are cleaned and joined as in lm-evaluation-harness (lm_eval/tasks/hellaswag/utils.py). The protocol names the
exception: the harness capitalises the second sentence (and lowercases the rest of it), which is impossible for `ctx`
and llm-foundry's `query`, since there the sentences are already joined.
"""

from __future__ import annotations

import re

from pipelines.evaluate.text.row import HARNESS, Asked, Form, Row, RowError, among, label, text, texts

METRICS = ("acc", "acc_norm")
_CHOICES = 4
_UNCAPITALISED = f"{HARNESS}, except that second sentences begin as they are written"


def _cleaned(words: str) -> str:
    """The words without the remains of WikiHow's markup."""
    titled = words.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", titled).replace("  ", " ")


def _parts(row: Row) -> Asked:
    second = row["ctx_b"]
    if not isinstance(second, str):  # it may be empty: ctx_a has all of a WikiHow row
        raise RowError("`ctx_b` is not text")
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
    """The choices. Raises RowError if one is empty, since `acc_norm` divides by its length."""
    if not all(choices):
        raise RowError("`endings` has one with nothing outside [brackets]")
    return choices


FORMS = (
    Form(("activity_label", "ctx_a", "ctx_b", "endings", "label"), HARNESS, _parts),
    Form(("activity_label", "ctx", "endings", "label"), _UNCAPITALISED, _whole),
    Form(("query", "choices", "gold"), f"{_UNCAPITALISED}, from llm-foundry's rows", _foundry),
)
