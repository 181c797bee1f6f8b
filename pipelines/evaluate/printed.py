"""Parses numbers as they are printed: `1 2 3`, `[0.1, 0.2]`, and arrays of NumPy and PyTorch.

NumPy 2 prints a number in a list as `np.int64(3)`, and an array as `[1. 2.]` or `array([1., 2.], dtype=float32)`; a
long one spans several lines, and a longer one has `...` in place of its middle, which is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

# Text around numbers: `np.int64(`, `array(`, `tensor(`, and the attributes printed after an array's values.
_AROUND = re.compile(r"\b(?:(?:np|numpy|torch)\.)?[a-z]+\d*\(|\b(?:dtype|device|grad_fn|shape)=(?:'[^']*'|[^\s,)]+)")
_BRACKETS = str.maketrans("[](),", "     ")


class ElidedError(ValueError):
    """An array was printed with `...` in place of its middle."""


def numbers(text: str) -> Sequence[float]:
    """The numbers in a text, whole ones as int. Raises ValueError for any other word that is not a JSON value."""
    if "..." in text or "\N{HORIZONTAL ELLIPSIS}" in text:
        raise ElidedError("an array that was printed with `...`")
    plain = text.strip("[]() ")
    try:  # the fast path, which covers most texts
        found: list[float] = json.loads(f"[{','.join(plain.replace(',', ' ').split())}]")
        return found
    except ValueError:
        return [_number(word) for word in _AROUND.sub(" ", text).translate(_BRACKETS).split()]


def _number(word: str) -> float:
    digits = word.removeprefix("-").removeprefix("+")
    return int(word) if digits.isdecimal() else float(word)
