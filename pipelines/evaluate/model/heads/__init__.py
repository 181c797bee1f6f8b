"""Detection heads: how a detector's outputs become boxes, and which head fits a model's outputs.

A head is a module of this package with a `HEAD`, which the table finds by itself. A head need not be stated if the
outputs are unambiguous. Refuses outputs that no head can read, or several can.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pipelines.errors import UsageError
from pipelines.evaluate.model.heads.categories import Categories, categories, unknown
from pipelines.evaluate.model.heads.common import Fit, Given, Head, shapes
from pipelines.evaluate.model.runtimes import Outputs


def _heads() -> Iterator[tuple[str, Head]]:
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        if head := getattr(importlib.import_module(f"{__name__}.{name}"), "HEAD", None):
            yield name, head


HEADS: Mapping[str, Head] = MappingProxyType(dict(_heads()))


class Found(NamedTuple):
    """The name of a model's head, how it reads the model's outputs, and the categories of their classes."""

    name: str
    fit: Fit
    categories: Categories


def find_head(stated: str | None, outputs: Outputs, given: Given) -> Found:
    """The stated head, or the one that fits the outputs for one image (without the batch axis).

    Raises UsageError if none fits, if several do, or if the meaning of its boxes or classes is unknown.
    """
    names = HEADS if stated is None else (stated,)
    fits = {name: fit for name in names if (fit := HEADS[name].fit(outputs, given))}
    if not fits:
        raise _unfit(stated, outputs, given)
    name = next(iter(fits)) if len(fits) == 1 else _clearest(fits, outputs, given)
    fit = fits[name]
    if fit.doubt:
        raise UsageError(f"{name}: {fit.doubt}")
    known = categories(fit.classes, given)
    if known is None:
        raise unknown(name, fit.classes, given)
    return Found(name, fit, known)


def _clearest(fits: Mapping[str, Fit], outputs: Outputs, given: Given) -> str:
    """Among several, the only reading whose classes are known and that is usual, or has a class for each label."""
    known = [name for name, fit in fits.items() if categories(fit.classes, given) is not None]
    counted = [name for name in known if given.labels is not None and fits[name].classes.total is not None]
    clear = [name for name in known if fits[name].usual or name in counted]
    if len(clear) == 1:
        return clear[0]
    counts = {name: fit.classes.total for name, fit in fits.items()}
    readings = " or ".join(name if count is None else f"{name} with {count} classes" for name, count in counts.items())
    example = next(iter(fits))
    raise UsageError(
        f'the model\'s outputs ({shapes(outputs)}) could be {readings}: state which, such as head = "{example}"'
    )


def _unfit(stated: str | None, outputs: Outputs, given: Given) -> UsageError:
    found = f"the model's outputs for one image of {given.width}x{given.height} ({shapes(outputs)})"
    instead = "predict with it yourself and give --predictions"
    if stated is None:
        known = "; ".join(f"{name}: {head.wants}" for name, head in HEADS.items())
        return UsageError(f"{found} fit no known head ({known}): {instead}")
    others = [name for name, head in HEADS.items() if head.fit(outputs, given)]
    wanted = f"do not fit the head {stated}, {HEADS[stated].wants}"
    hint = f"they could be {' or '.join(others)}" if others else instead
    return UsageError(f"{found} {wanted}: {hint}")
