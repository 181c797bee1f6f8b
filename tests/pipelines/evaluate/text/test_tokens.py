"""Which token begins a text, whatever decides it, and how a context and its continuation are split."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors

from pipelines.errors import UsageError
from pipelines.evaluate.text.bos import NO_BOS, bos
from pipelines.evaluate.text.question import Request
from pipelines.evaluate.text.tokens import read_tokens
from tests.pipelines.evaluate.text import made

BEGIN, END = (made.tokenizer().token_to_id(token) for token in (made.BOS, made.EOS))


def saved(folder: Path, tokenizer: Tokenizer, config: dict[str, Any] | None = None) -> Path:
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return path


@pytest.mark.parametrize(
    ("begun", "config", "begin", "head", "prefix"),
    [
        (True, None, None, (BEGIN,), BEGIN),
        (True, None, NO_BOS, (), None),
        (False, None, END, (END,), END),
        (False, {"add_prefix_space": False}, None, (), None),  # a configuration without tokens is a decision, too
        (False, {"bos_token": made.BOS}, None, (), BEGIN),
        (False, {"eos_token": {"content": made.EOS, "special": True}}, None, (), END),
        (False, {"bos_token": made.BOS, "add_bos_token": True}, None, (BEGIN,), BEGIN),
        (True, {"bos_token": made.BOS, "add_bos_token": False}, None, (), BEGIN),
        (True, {"add_bos_token": None, "model_max_length": 1e30}, None, (BEGIN,), BEGIN),
    ],
)
def test_what_decides_the_beginning_of_a_text(
    tmp_path: Path,
    begun: bool,
    config: dict[str, Any] | None,
    begin: int | None,
    head: tuple[int, ...],
    prefix: int | None,
) -> None:
    tokens = read_tokens(saved(tmp_path, made.tokenizer(begun=begun), config), begin)
    assert (tokens.head, tokens.prefix) == (head, prefix)
    assert tokens.longest is None
    assert tokens.described.startswith(f"texts begin with {f'token {head[0]}' if head else 'no special token'} ")


def test_an_unstated_beginning_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"give --bos {BEGIN} if the model was trained on texts that begin with <s>"):
        read_tokens(saved(tmp_path, made.tokenizer(begun=False)))


def test_texts_are_split_as_by_the_harness(tmp_path: Path) -> None:
    """Compared with the tokenizer itself, text by text: the whole, and the context without its trailing spaces."""
    tokenizer = made.tokenizer()
    tokens = read_tokens(saved(tmp_path, tokenizer))
    requests = [Request("in the ", "rain"), Request("in\n\n", " the"), Request("<s>in", " the"), Request("", " the")]
    for request, found in zip(requests, tokens.pairs(requests), strict=True):
        begun = request.context.startswith(made.BOS)
        whole = tokenizer.encode(request.context + request.continuation, add_special_tokens=not begun).ids
        assert [*found.context, *found.continuation] == whole
        alone = tokenizer.encode(request.context.rstrip(), add_special_tokens=not begun).ids
        assert list(found.context) == alone


def test_a_tokenizers_own_limit_does_not_truncate_texts(tmp_path: Path) -> None:
    tokenizer = made.tokenizer()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=3)
    tokens = read_tokens(saved(tmp_path, tokenizer, {"model_max_length": 77}))
    (found,) = tokens.pairs([Request("abcdef", "g")])
    assert (len(found.context), len(found.continuation), tokens.longest) == (7, 1, 77)


def test_tokenizers_that_cannot_be_used_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, made.tokenizer())
    (tmp_path / "other.json").write_text("{}", "utf-8")
    with pytest.raises(UsageError, match=r"other\.json is not a tokenizer\.json"):
        read_tokens(tmp_path / "other.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_tokens(tmp_path / "none.json")
    with pytest.raises(UsageError, match=r"--bos 999: .* has no token with that id"):
        read_tokens(path, 999)
    with pytest.raises(UsageError, match="has no token to stand for the empty context of a question: give --bos"):
        read_tokens(path, NO_BOS).pairs([Request("", "a")])
    for context in ("a", ""):
        with pytest.raises(UsageError, match=f"has no token for '' after {context!r}"):
            read_tokens(path).pairs([Request(context, "")])
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<begin>"}', "utf-8")
    with pytest.raises(UsageError, match="has no token '<begin>'"):
        read_tokens(path)
    (tmp_path / "tokenizer_config.json").write_text("[", "utf-8")
    with pytest.raises(UsageError, match=r"tokenizer_config\.json cannot be read"):
        read_tokens(path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match="--tokenizer needs tokenizers: pip install tokenizers"):
        read_tokens(path)


def test_a_tokenizer_that_appends_tokens_is_refused(tmp_path: Path) -> None:
    tokenizer = made.tokenizer()
    ended = processors.TemplateProcessing(
        single=f"$A {made.EOS}", pair=f"$A {made.EOS} $B", special_tokens=[(made.EOS, END)]
    )
    tokenizer.post_processor = ended
    with pytest.raises(UsageError, match="appends a token to a text"):
        read_tokens(saved(tmp_path, tokenizer))


def test_what_bos_takes() -> None:
    assert (bos("1"), bos("none")) == (1, NO_BOS)
    for text in ("<s>", "-1", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="neither a token id nor none"):
            bos(text)
