"""A language model and its tokenizer, made in code."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.evaluate.text.tokens import Tokens, read_tokens
from tests.pipelines.evaluate.text import made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model.onnx` and `tokenizer.json`."""
    folder = tmp_path_factory.mktemp("language")
    tokenizer = made.tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    made.write_model(folder / "model.onnx", tokenizer.get_vocab_size())
    return folder


@pytest.fixture(scope="session")
def tokens(folder: Path) -> Tokens:
    return read_tokens(folder / "tokenizer.json")
