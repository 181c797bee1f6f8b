"""Turns texts into a model's tokens: a `tokenizer.json`, read by the package `tokenizers`, and the token that begins a
text.

The first of these decides what begins a text: `--bos`; `add_bos_token` in the `tokenizer_config.json` next to the
tokenizer; the tokenizer's own post-processor, as in transformers. Refuses to guess if none of them does and the
vocabulary has a likely token. Refuses tokenizers that append tokens to a text, which the model should continue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from manifests.untrusted import parse_json
from pipelines.errors import UsageError
from pipelines.evaluate.text.bos import NO_BOS
from pipelines.evaluate.text.question import Request
from pipelines.text import first_line

if TYPE_CHECKING:
    import tokenizers

# Common names of a token that is used only to begin texts.
_BEGINNINGS = ("<s>", "<bos>", "[BOS]", "<BOS>", "<|begin_of_text|>", "<|startoftext|>", "<|bos|>")
# The files next to transformers' tokenizers; the first that names a token wins.
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
# transformers writes 1e30 for a tokenizer without a longest text.
_ENDLESS = 10**9
# How many texts are tokenised at a time, to save memory.
_AT_ONCE = 1024
_SAMPLE = "a b"


class Encoded(NamedTuple):
    """A request's tokens; neither is empty."""

    context: Sequence[int]
    continuation: Sequence[int]


@dataclass(frozen=True)
class Tokens:
    """A tokenizer, and the tokens that it prepends to a text.

    `head` are the tokens prepended to a text, unless it already begins with `beginning`; `prefix` is the one that
    stands for an empty context, or None. `longest` is the most tokens that a text may have, if a file next to the
    tokenizer states it. `described` says what is prepended, for people; `size` is one more than the largest id.
    """

    path: Path
    sha256: str
    head: tuple[int, ...]
    prefix: int | None
    beginning: str
    longest: int | None
    described: str
    size: int
    _tokenizer: tokenizers.Tokenizer

    def pairs(self, requests: Sequence[Request]) -> list[Encoded]:
        """The tokens of each request, split as in lm-evaluation-harness 0.4.13 (`TemplateLM.loglikelihood`).

        Spaces at the end of a context move to the continuation. Context and continuation are encoded as one text; its
        first tokens, as many as the context has when it is encoded by itself, are the context. Raises UsageError if
        none are left for the continuation.
        """
        found: list[Encoded] = []
        for first in range(0, len(requests), _AT_ONCE):
            found += self._pairs(requests[first : first + _AT_ONCE])
        return found

    def _pairs(self, requests: Sequence[Request]) -> list[Encoded]:
        contexts = [request.context.rstrip() for request in requests]
        wholes = [request.context + request.continuation for request in requests]
        encoded = zip(requests, contexts, self._plain(contexts), wholes, self._plain(wholes), strict=True)
        return [
            self._pair(request, [*self._before(text), *context], [*self._before(whole), *tokens])
            if text
            else self._pair(request, [self._nothing()], self._after_nothing(tokens))
            for request, text, context, whole, tokens in encoded
        ]

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def _before(self, text: str) -> tuple[int, ...]:
        """The tokens to prepend to a text; none if it already begins with them."""
        return () if self.beginning and text.startswith(self.beginning) else self.head

    def _pair(self, request: Request, context: list[int], whole: list[int]) -> Encoded:
        if len(whole) <= len(context):
            raise UsageError(
                f"{self.path} has no token for {request.continuation!r} after {request.context[-40:]!r}: give the "
                "tokenizer of a causal model"
            )
        return Encoded(context, whole[len(context) :])

    def _nothing(self) -> int:
        """The token that stands for an empty context."""
        if self.prefix is None:
            raise UsageError(f"{self.path} has no token to stand for the empty context of a question: give --bos")
        return self.prefix

    def _after_nothing(self, tokens: list[int]) -> list[int]:
        """A continuation of an empty context, after the token that stands for it (unless it begins with that token)."""
        return tokens if tokens[:1] == [self.prefix] and len(tokens) > 1 else [self._nothing(), *tokens]


def read_tokens(path: Path, begin: int | None = None) -> Tokens:
    """Read a `tokenizer.json`; `begin` is the value of `--bos`: an id, `NO_BOS`, or None.

    Raises UsageError if `tokenizers` is missing, the file is not a tokenizer, or the token that begins texts is
    unclear or wrong.
    """
    tokenizer, content = _tokenizer(path)
    settings = _settings(path)
    named = [_id(path, tokenizer, settings.get(name)) for name in ("bos_token", "eos_token")]
    head, described = _head(path, tokenizer, settings, named[0], begin)
    prefix = next((token for token in (*head, *named) if token is not None), None)
    longest = settings.get("model_max_length")
    decided = json.dumps([list(head), prefix]).encode()
    return Tokens(
        path=path,
        sha256=hashlib.sha256(content + decided).hexdigest(),
        head=head,
        prefix=prefix,
        beginning="" if prefix is None else tokenizer.decode([prefix], skip_special_tokens=False),
        longest=longest if isinstance(longest, int) and 0 < longest < _ENDLESS else None,
        described=described,
        size=max(tokenizer.get_vocab(with_added_tokens=False).values(), default=-1) + 1,
        _tokenizer=tokenizer,
    )


def _tokenizer(path: Path) -> tuple[tokenizers.Tokenizer, bytes]:
    try:
        import tokenizers
    except ImportError:
        raise UsageError("--tokenizer needs tokenizers: pip install tokenizers") from None
    try:
        content = path.read_bytes()
        tokenizer = tokenizers.Tokenizer.from_buffer(content)
    except OSError as error:
        raise UsageError(f"--tokenizer {path} cannot be read ({error.strerror})") from None
    except Exception as error:  # tokenizers raises plain Exception for a bad file
        raise UsageError(f"--tokenizer {path} is not a tokenizer.json ({first_line(error)})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, content


def _settings(path: Path) -> Mapping[str, Any]:
    """The settings in the files next to a tokenizer."""
    found: dict[str, Any] = {}
    for name in reversed(_SETTINGS):
        file = path.with_name(name)
        if not file.is_file():
            continue
        try:
            values = parse_json(file.read_bytes())
            found |= {key: value for key, value in values.items() if value is not None}
        except (OSError, ValueError, AttributeError) as error:
            raise UsageError(f"{file} cannot be read ({first_line(error)})") from None
    return found


def _id(path: Path, tokenizer: tokenizers.Tokenizer, token: object) -> int | None:
    """The id of a token named in a setting, as text or as transformers' object; None if it is not set."""
    name = token.get("content") if isinstance(token, dict) else token
    if name is None:
        return None
    found = tokenizer.token_to_id(str(name))
    if found is None:
        raise UsageError(
            f"{path} has no token {name!r}, which a file next to it names as beginning or ending texts: give files "
            "that belong together"
        )
    return found


def _head(
    path: Path, tokenizer: tokenizers.Tokenizer, settings: Mapping[str, Any], named: int | None, begin: int | None
) -> tuple[tuple[int, ...], str]:
    """The tokens that begin a text, and a description that names what decided them."""
    if begin is not None:
        if begin != NO_BOS and tokenizer.id_to_token(begin) is None:
            raise UsageError(f"--bos {begin}: {path} has no token with that id")
        given = () if begin == NO_BOS else (begin,)
        return given, _described(tokenizer, given, "--bos")
    adds = settings.get("add_bos_token")
    if isinstance(adds, bool) and (named is not None or not adds):
        stated = (named,) if adds and named is not None else ()
        return stated, _described(tokenizer, stated, "tokenizer_config.json")
    head = _processed(path, tokenizer)
    likely = next((name for name in _BEGINNINGS if tokenizer.token_to_id(name) is not None), None)
    if not head and likely is not None and not settings:
        raise UsageError(
            f"{path} does not say what texts begin with, and there is no tokenizer_config.json next to it: give --bos "
            f"{tokenizer.token_to_id(likely)} if the model was trained on texts that begin with {likely}, or --bos none"
        )
    return head, _described(tokenizer, head, path.name)


def _processed(path: Path, tokenizer: tokenizers.Tokenizer) -> tuple[int, ...]:
    """The tokens that the tokenizer's post-processor prepends to a text."""
    plain = tokenizer.encode(_SAMPLE, add_special_tokens=False).ids
    whole = tokenizer.encode(_SAMPLE).ids
    before = len(whole) - len(plain)
    if whole[before:] != plain:
        raise UsageError(
            f"{path} appends a token to a text, which the model should continue: give --bos, or set bos_token and "
            "add_bos_token in a tokenizer_config.json next to it"
        )
    return tuple(whole[:before])


def _described(tokenizer: tokenizers.Tokenizer, head: Sequence[int], source: str) -> str:
    tokens = ", ".join(f"{token} ({tokenizer.id_to_token(token)})" for token in head)
    return f"texts begin with {f'token {tokens}' if head else 'no special token'} (from {source})"
