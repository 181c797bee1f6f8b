"""How many tokens a model takes, from `config.json` and the tokenizer's configuration, as lm-evaluation-harness 0.4.13
reads them (`resolve_max_length`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manifests.untrusted import parse_json
from pipelines.errors import UsageError
from pipelines.evaluate.text.tokens import Tokens
from pipelines.text import first_line

# The names for it in transformers' configurations, in the order of precedence.
_NAMES = ("n_positions", "max_position_embeddings", "n_ctx")
# The harness's default.
_DEFAULT = 2048


def longest_of(model: Path, tokens: Tokens) -> int:
    """The most tokens that a model takes, from the files next to it or to its tokenizer.

    Raises UsageError if a configuration cannot be read.
    """
    for path in _configurations(model, tokens.path):
        values = _read(path)
        inner = values.get("text_config")
        own = inner if isinstance(inner, dict) else values
        found = next((own[name] for name in _NAMES if isinstance(own.get(name), int)), None)
        if found is not None:
            return int(found)
    return tokens.longest or _DEFAULT


def _configurations(model: Path, tokenizer: Path) -> Iterator[Path]:
    """Next to the model, above the folder `onnx` in which the Hub keeps models, and next to the tokenizer."""
    above = [model.parent.parent] if model.parent.name == "onnx" else []
    for folder in (model.parent, *above, tokenizer.parent):
        if (folder / "config.json").is_file():
            yield folder / "config.json"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({first_line(error)})") from None
    return values if isinstance(values, dict) else {}
