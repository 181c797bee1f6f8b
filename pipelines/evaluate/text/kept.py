"""Answers that are kept for reuse: a file of its own for each model and task, with what made them.

They are used again only where model, tokenizer, questions and settings are those that made them; any other, and one
that is damaged, is made again in its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.evaluate.text.answers import Answers
from pipelines.progress import say
from pipelines.store.files import replacing


def kept(path: Path, made_by: Mapping[str, Any], make: Callable[[], Answers]) -> Answers:
    """The answers in a file, or what is made where it has none of these; what becomes of an old file is said.

    `made_by` is what decides them, as plain JSON values. Raises RunError where they cannot be written.
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
        others = sorted(name for name, value in made_by.items() if values["made_by"].get(name) != value)
        found = Answers.from_json(values["answers"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        say(f"{path} is damaged: its questions are asked again")
        return None
    if others:
        say(f"{path} has answers of another {', '.join(others)}: its questions are asked again")
        return None
    say(f"{path} has the answers of an earlier run: they are used again")
    return found
