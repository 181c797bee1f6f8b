"""Numbers as they are printed: `1 2 3`, `[0.1, 0.2]`, and what NumPy and PyTorch make of arrays.

NumPy 2 prints `np.int64(3)` for a number in a list, an array as `[1. 2.]` or `array([1., 2.], dtype=float32)`, in
several lines where it is long, and with `...` in the middle where it is longer: of such a one the rest is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

# What stands around numbers: `np.int64(`, `array(`, `tensor(`, and what arrays say of themselves behind them.
_AROUND = re.compile(r"\b(?:(?:np|numpy|torch)\.)?[a-z]+\d*\(|\b(?:dtype|device|grad_fn|shape)=(?:'[^']*'|[^\s,)]+)")
_BRACKETS = str.maketrans("[](),", "     ")


class ElidedError(ValueError):
    """An array was printed with `...` in place of its middle."""


def numbers(text: str) -> Sequence[float]:
    """The numbers in a text, whole ones as int. Raises ValueError where there is anything else, but JSON's values."""
    if "..." in text or "\N{HORIZONTAL ELLIPSIS}" in text:
        raise ElidedError("an array that was printed with `...`")
    plain = text.strip("[]() ")
    try:  # as fast as can be: most are written so
        found: list[float] = json.loads(f"[{','.join(plain.replace(',', ' ').split())}]")
        return found
    except ValueError:
        return [_number(word) for word in _AROUND.sub(" ", text).translate(_BRACKETS).split()]


def _number(word: str) -> float:
    digits = word.removeprefix("-").removeprefix("+")
    return int(word) if digits.isdecimal() else float(word)
