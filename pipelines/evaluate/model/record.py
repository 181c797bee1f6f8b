"""The JSON record beside a model that was made here, and whether the two are still valid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.weights import model_sha256


def read_record(model: Path, facts: Mapping[str, Any], outcome: str, kind: type) -> dict[str, Any] | None:
    """The record of a model that exists, is undamaged and was made as `facts` say; else None.

    A record has the facts, the model's `sha256`, and what making it found: the key `outcome`, of a `kind`.
    """
    try:
        record: dict[str, Any] = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
        expected = {**facts, outcome: kind(record[outcome]), "sha256": model_sha256(model)}
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return None
    return record if record == expected else None
