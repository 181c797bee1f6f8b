"""Texts as a model's tokens: a `tokenizer.json`, read by the package `tokenizers`, and the token that texts begin with.

Which that is, the first of these says: `--bos`; `tokenizer_config.json` beside it, with `add_bos_token`; and the
tokenizer's own post-processor, as in transformers. Refuses to guess where all are silent and there is a token that
models are begun with, and tokenizers that put anything behind a text, where it is to go on.
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

# By these names tokenizers have a token that texts begin with, and that is for nothing else.
_BEGINNINGS = ("<s>", "<bos>", "[BOS]", "<BOS>", "<|begin_of_text|>", "<|startoftext|>", "<|bos|>")
# What is set beside transformers' tokenizers; the first that names a token is right.
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json")
# transformers' mark of a tokenizer that knows no longest text is 1e30.
_ENDLESS = 10**9
# Texts at a time, so that the longest lists of tokens are not all held.
_AT_ONCE = 1024
_SAMPLE = "a b"


class Encoded(NamedTuple):
    """A request's tokens; neither is empty."""

    context: Sequence[int]
    continuation: Sequence[int]


@dataclass(frozen=True)
class Tokens:
    """A tokenizer, and what it puts before a text.

    `head` are the tokens put before a text that does not begin with `beginning` already; `prefix` is the one that
    stands for an empty context, None where none is known. `longest` is how many tokens a text may have, where a file
    beside it says so. `said` is what was taken, for people; `size` is one more than the largest id.
    """

    path: Path
    sha256: str
    head: tuple[int, ...]
    prefix: int | None
    beginning: str
    longest: int | None
    said: str
    size: int
    _tokenizer: tokenizers.Tokenizer

    def pairs(self, requests: Sequence[Request]) -> list[Encoded]:
        """The tokens of each request, as lm-evaluation-harness 0.4.13 has them (`TemplateLM.loglikelihood`).

        Spaces that end a context begin the continuation, and a text is encoded whole: a continuation's tokens are those
        behind as many as its context has alone. Raises UsageError where a continuation has none.
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
        """What is put before a text, unless it is written in it."""
        return () if self.beginning and text.startswith(self.beginning) else self.head

    def _pair(self, request: Request, context: list[int], whole: list[int]) -> Encoded:
        if len(whole) <= len(context):
            raise UsageError(
                f"{self.path} has no token for {request.continuation!r} after {request.context[-40:]!r}: it is no "
                "tokenizer of a model that goes on with a text"
            )
        return Encoded(context, whole[len(context) :])

    def _nothing(self) -> int:
        """The token that stands for an empty context."""
        if self.prefix is None:
            raise UsageError(f"{self.path}: a question begins with nothing, and no token is known for that: give --bos")
        return self.prefix

    def _after_nothing(self, tokens: list[int]) -> list[int]:
        """A continuation without a context, behind the token that stands for one unless it begins with that itself."""
        return tokens if tokens[:1] == [self.prefix] and len(tokens) > 1 else [self._nothing(), *tokens]


def read_tokens(path: Path, begin: int | None = None) -> Tokens:
    """A `tokenizer.json`; `begin` is what `--bos` says: an id, `NO_BOS`, or None.

    Raises UsageError where `tokenizers` is missing, the file is no tokenizer, and where it is not to be told, or is
    wrong, what texts begin with.
    """
    tokenizer, content = _tokenizer(path)
    beside = _beside(path)
    named = [_id(path, tokenizer, beside.get(name)) for name in ("bos_token", "eos_token")]
    head, said = _head(path, tokenizer, beside, named[0], begin)
    prefix = next((token for token in (*head, *named) if token is not None), None)
    longest = beside.get("model_max_length")
    settings = json.dumps([list(head), prefix]).encode()
    return Tokens(
        path=path,
        sha256=hashlib.sha256(content + settings).hexdigest(),
        head=head,
        prefix=prefix,
        beginning="" if prefix is None else tokenizer.decode([prefix], skip_special_tokens=False),
        longest=longest if isinstance(longest, int) and 0 < longest < _ENDLESS else None,
        said=said,
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
    except Exception as error:  # tokenizers has no class of its own for what is no tokenizer
        raise UsageError(f"--tokenizer {path} is no tokenizer.json ({first_line(error)})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, content


def _beside(path: Path) -> Mapping[str, Any]:
    """What is set beside a tokenizer."""
    found: dict[str, Any] = {}
    for name in reversed(_BESIDE):
        beside = path.with_name(name)
        if not beside.is_file():
            continue
        try:
            values = parse_json(beside.read_bytes())
            found |= {key: value for key, value in values.items() if value is not None}
        except (OSError, ValueError, AttributeError) as error:
            raise UsageError(f"{beside} cannot be read ({first_line(error)})") from None
    return found


def _id(path: Path, tokenizer: tokenizers.Tokenizer, token: object) -> int | None:
    """The id of a token that is named, as text or as transformers writes it whole."""
    name = token.get("content") if isinstance(token, dict) else token
    if name is None:
        return None
    found = tokenizer.token_to_id(str(name))
    if found is None:
        raise UsageError(f"{path} has no token {name!r}, which lies beside it as one that begins or ends texts")
    return found


def _head(
    path: Path, tokenizer: tokenizers.Tokenizer, beside: Mapping[str, Any], named: int | None, begin: int | None
) -> tuple[tuple[int, ...], str]:
    """What a text begins with, and who said so."""
    if begin == NO_BOS:
        return (), "no token before a text, as --bos says"
    if begin is not None:
        if tokenizer.id_to_token(begin) is None:
            raise UsageError(f"--bos {begin}: {path} has no token of that id")
        return (begin,), _said(tokenizer, (begin,), "--bos")
    adds = beside.get("add_bos_token")
    if isinstance(adds, bool) and (named is not None or not adds):
        stated = (named,) if adds and named is not None else ()
        return stated, _said(tokenizer, stated, "tokenizer_config.json")
    head = _processed(path, tokenizer)
    likely = next((name for name in _BEGINNINGS if tokenizer.token_to_id(name) is not None), None)
    if not head and likely is not None and not beside:
        raise UsageError(
            f"{path} does not say what texts begin with, and no tokenizer_config.json lies beside it: give --bos "
            f"{tokenizer.token_to_id(likely)} where the model has learnt to begin with {likely}, or --bos none"
        )
    return head, _said(tokenizer, head, path.name)


def _processed(path: Path, tokenizer: tokenizers.Tokenizer) -> tuple[int, ...]:
    """What the tokenizer's post-processor puts before a text."""
    plain = tokenizer.encode(_SAMPLE, add_special_tokens=False).ids
    whole = tokenizer.encode(_SAMPLE).ids
    before = len(whole) - len(plain)
    if whole[before:] != plain:
        raise UsageError(
            f"{path} puts a token behind a text, which is to go on there: give --bos, or set bos_token and "
            "add_bos_token in tokenizer_config.json beside it"
        )
    return tuple(whole[:before])


def _said(tokenizer: tokenizers.Tokenizer, head: Sequence[int], who: str) -> str:
    written = ", ".join(f"{token} ({tokenizer.id_to_token(token)})" for token in head)
    return f"{f'token {written}' if head else 'no token'} before a text, as {who} says"
