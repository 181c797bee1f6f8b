"""Which noise a command line asks for in a language model: only the precision stage applies to text."""

from __future__ import annotations

from collections.abc import Sequence

from generators.registry import METHODS, Method
from generators.variant import PAPER, REFERENCE, VariantError, is_group, parse, reference
from pipelines.errors import UsageError

STAGE = "precision"


def asked_noise(words: Sequence[str]) -> tuple[list[Method], set[str]]:
    """The methods that `--variant` asks for, and the tokens that it names directly rather than through a group.

    `reference` is always scored and adds nothing. Raises UsageError for noise of another stage.
    """
    found: dict[str, Method] = {}
    named: set[str] = set()
    for word in (part.strip() for given in words for part in given.split(",")):
        if word in (STAGE, PAPER):
            found |= {token: method for token, method in _of_stage().items() if word == STAGE or method.paper}
        elif word != REFERENCE:
            method = _method(word)
            found[method.token] = method
            named.add(method.token)
    return list(found.values()), named


def _of_stage() -> dict[str, Method]:
    return {token: method for token, method in METHODS.items() if method.stage == STAGE}


def _method(word: str) -> Method:
    try:
        base = reference()
        methods = () if is_group(word) else parse(word, base).methods
    except VariantError as error:
        raise UsageError(f"--variant: {error}") from None
    own = [method for method in methods if method not in base.methods]
    if len(own) != 1 or own[0].stage != STAGE:
        raise UsageError(
            f"--variant {word}: text has only {STAGE} noise: give {STAGE}, {PAPER} or {', '.join(_of_stage())}"
        )
    return own[0]
