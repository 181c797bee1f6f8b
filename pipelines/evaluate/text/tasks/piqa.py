"""PIQA: which of two ways reaches a goal (Bisk et al., AAAI 2020).

The prompt is lm-evaluation-harness's (lm_eval/tasks/piqa/piqa.yaml). llm-foundry's `query` contains the goal, and its
prompt ends in the same words (scripts/eval/yamls/tasks_v0.3.yaml: `continuation_delimiter: "\\nAnswer: "`).
"""

from __future__ import annotations

from pipelines.evaluate.text.row import HARNESS, Asked, Form, Row, among, label, text, texts

METRICS = ("acc", "acc_norm")
_CHOICES = 2


def _hub(row: Row) -> Asked:
    choices = (text(row, "sol1"), text(row, "sol2"))
    return _asked(text(row, "goal"), choices, label(row, "label", _CHOICES))


def _foundry(row: Row) -> Asked:
    goal = text(row, "query").strip().removeprefix("Question:").removesuffix("Answer:").strip()
    choices = tuple(choice.strip() for choice in texts(row, "choices", _CHOICES))
    return _asked(goal, choices, label(row, "gold", _CHOICES))


def _asked(goal: str, choices: tuple[str, ...], gold: int) -> Asked:
    return among(f"Question: {goal}\nAnswer:", " ", choices, gold)


FORMS = (
    Form(("goal", "sol1", "sol2", "label"), HARNESS, _hub),
    Form(("query", "choices", "gold"), f"{HARNESS}, from llm-foundry's rows", _foundry),
)
