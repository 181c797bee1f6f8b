"""Which variants of a set of speech to score: of spectrograms, of a model's precision, or both.

Other model noise is refused if it is named, and left out of groups with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from generators.registry import Method
from generators.selection import expand
from generators.variant import Variant, VariantError, is_group
from pipelines.errors import UsageError

_OTHERS = "it is noise of image models: for speech, the only noise of models is precision"


def asked(
    words: Iterable[str], base: Variant, known: Mapping[str, Method], versions: Callable[[Method], Sequence[str]]
) -> tuple[dict[str, Variant], set[str], dict[str, str]]:
    """The variants that `--variant` asks for by name, without the reference; the names of those that it names directly
    rather than through a group; and why others in groups cannot be scored. Raises UsageError for a variant that is
    named and cannot be scored.
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
