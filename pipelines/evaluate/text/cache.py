"""A cache of answers: one file for each model and task, recording what made them.

Answers are reused only if the model, tokenizer, questions and settings are the same. Otherwise, or if the file is
damaged, the questions are asked again and the file is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.evaluate.text.answers import Answers
from pipelines.progress import say
from pipelines.store.files import replacing


def cached(path: Path, made_by: Mapping[str, Any], make: Callable[[], Answers]) -> Answers:
    """The answers in a file if `made_by` is the same, else new ones. Reports whether old answers are reused.

    `made_by` is everything that determines the answers, as plain JSON values. Raises RunError if the file cannot be
    written.
    """
    found = _found(path, made_by)
    if found is None:
        found = make()
        content = json.dumps({"made_by": made_by, "answers": found.to_json()}, allow_nan=False)
        with replacing(path) as partial:
            partial.write_text(content + "\n", encoding="utf-8")
    return found


def _found(path: Path, made_by: Mapping[str, Any]) -> Answers | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(name for name, value in made_by.items() if values["made_by"].get(name) != value)
        found = Answers.from_json(values["answers"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        say(f"{path} is damaged: asking its questions again")
        return None
    if changed:
        say(f"{path} was made with different {', '.join(changed)}: asking its questions again")
        return None
    say(f"{path} has the answers of an earlier run: reusing them")
    return found
