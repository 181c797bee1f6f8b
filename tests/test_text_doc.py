"""docs/text.md says what there is."""

from __future__ import annotations

import re

from pipelines.evaluate.options import TEXT_CALIBRATION
from pipelines.evaluate.text.exported import TOLERANCE
from pipelines.evaluate.text.row import HARNESS
from pipelines.evaluate.text.tasks import TASKS, task_of
from tests.documents import read

TEXT = read("docs/text.md")


def test_the_table_has_every_task_with_its_fields_and_figures() -> None:
    found = {}
    for name, forms, figures in re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", TEXT, re.MULTILINE):
        fields = [tuple(re.findall(r"`(\w+)`", form)) for form in forms.split("; or ")]
        found[name] = fields, tuple(re.findall(r"`(\w+)`", figures))
    tasks = {name: task_of(name) for name in TASKS}
    assert found == {name: ([form.fields for form in task.FORMS], task.METRICS) for name, task in tasks.items()}


def test_the_figures_are_those_of_the_code() -> None:
    text = TEXT.replace("\n", " ")
    assert f"those of {HARNESS}," in text
    assert f"than {TOLERANCE:.0e} of the largest".replace("e-04", "e-4") in text
    assert f"the first {TEXT_CALIBRATION} questions" in text
