"""Parsers for the values of a preprocessing TOML; each raises ValueError that says what the value must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from generators.variant import VariantError, reference


def number(value: object) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a number")
    return float(value)


def three(value: object) -> tuple[float, ...]:
    """A number for each channel."""
    wanted = "three numbers, one per channel"
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
        raise ValueError(wanted)
    try:
        return tuple(map(number, value))
    except ValueError:
        raise ValueError(wanted) from None


def three_positive(value: object) -> tuple[float, ...]:
    """A positive number for each channel."""
    found = three(value)
    if not all(divisor > 0 for divisor in found):
        raise ValueError("three numbers above 0")
    return found


def scale(value: object) -> float:
    """A positive number, which may be written as a fraction."""
    try:
        factor = float(Fraction(value)) if isinstance(value, str) else number(value)
    except (ValueError, ZeroDivisionError):
        factor = 0.0
    if not factor > 0:
        raise ValueError('a number above 0, or a fraction such as "1/255"')
    return factor


def share(value: object) -> float:
    """A number from 0 to 1."""
    found = number(value)
    if not 0 <= found <= 1:
        raise ValueError("a number from 0 to 1")
    return found


def whole(low: int, high: int | None = None) -> Callable[[object], int]:
    """A parser of integers from `low` to `high`, inclusive."""
    wanted = f"a whole number from {low} to {high}" if high is not None else f"a whole number of at least {low}"

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            raise ValueError(wanted)
        return value

    return parse


def output_name(value: object) -> str:
    """A non-empty string."""
    if not isinstance(value, str) or not value:
        raise ValueError("the name of an output")
    return value


def side(value: object) -> int | tuple[int, int]:
    """One side in pixels, or two."""
    pixels = whole(1)
    try:
        if not isinstance(value, list):
            return pixels(value)
        first, second = map(pixels, value)
        return first, second
    except ValueError:
        raise ValueError("a whole number of at least 1, or two in a list") from None


def positive_share(value: object) -> float:
    """A number above 0 and up to 1."""
    found = share(value)
    if not found:
        raise ValueError("a number above 0 and up to 1")
    return found


def pixel_variant(value: object) -> str:
    """The name of a variant of the pixels."""
    try:
        if not isinstance(value, str):
            raise VariantError("not a string")
        reference(value)
    except VariantError:
        raise ValueError('a variant of the pixels, such as "pil_bicubic"') from None
    return value


def one_of(*names: str) -> Callable[[object], str]:
    """A parser that accepts these names."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(" or ".join(f'"{name}"' for name in names))
        return value

    return parse
