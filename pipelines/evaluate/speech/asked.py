"""Which variants of a set of speech are to be scored: of spectrograms, of a model's precision, or of both.

Refuses other noise in a model by name; of groups it is left out with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from generators.registry import Method
from generators.selection import expand
from generators.variant import Variant, VariantError, is_group
from pipelines.errors import UsageError

_OTHERS = "it is noise of models of images: speech has the stage precision alone"


def asked(
    words: Iterable[str], base: Variant, known: Mapping[str, Method], versions: Callable[[Method], Sequence[str]]
) -> tuple[dict[str, Variant], set[str], dict[str, str]]:
    """The variants that words of `--variant` stand for by name, without the reference; the names of those that are
    named one by one; and why some of groups cannot be scored. Raises UsageError for what is named and cannot be.
    """
    words = [part for word in words for part in word.split(",")]
    expanded = partial(expand, base=base, model=True, known=known, versions=versions, runs=False)
    try:
        found, _ = expanded(words)
        named = {variant.name for variant in expanded([word for word in words if not is_group(word)])[0]}
    except VariantError as error:
        raise UsageError(f"--variant: {error}") from None
    others = {variant.name for variant in found if any(method.stage != "precision" for method in variant.noise)}
    if refused := sorted(others & named):
        raise UsageError(f"--variant {refused[0]}: {_OTHERS}")
    kept = {variant.name: variant for variant in found if variant.name not in others and variant != base}
    return kept, named, dict.fromkeys(sorted(others), _OTHERS)
