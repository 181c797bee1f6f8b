"""WinoGrande: which of two names a sentence means (Sakaguchi et al., AAAI 2020), by partial scoring.

As in lm-evaluation-harness (lm_eval/tasks/winogrande/preprocess_winogrande.py): each name replaces the `_`, and the
model chooses the one after which the rest of the sentence is likelier. llm-foundry's rows are already in this form.
"""

from __future__ import annotations

from pipelines.evaluate.text.question import Request
from pipelines.evaluate.text.row import HARNESS, Asked, Form, Row, RowError, label, text, texts

METRICS = ("acc",)
_CHOICES = 2


def _hub(row: Row) -> Asked:
    before, blank, rest = text(row, "sentence").partition("_")
    if not blank or not rest.strip():
        raise RowError("`sentence` has no _ followed by text")
    contexts = tuple(before + text(row, name) for name in ("option1", "option2"))
    return _asked(contexts, rest.strip(), label(row, "answer", _CHOICES, first=1))


def _foundry(row: Row) -> Asked:
    contexts = tuple(context.strip() for context in texts(row, "context_options", _CHOICES))
    return _asked(contexts, text(row, "continuation").strip(), label(row, "gold", _CHOICES))


def _asked(contexts: tuple[str, ...], rest: str, gold: int) -> Asked:
    return Asked(tuple(Request(context, f" {rest}") for context in contexts), gold, contexts)


FORMS = (
    Form(("sentence", "option1", "option2", "answer"), HARNESS, _hub),
    Form(("context_options", "continuation", "gold"), f"{HARNESS}, from llm-foundry's rows", _foundry),
)
