"""The values of `--bos`. Imports nothing slow, since --help needs it."""

from __future__ import annotations

import argparse

# The value of `--bos none`.
NO_BOS = -1


def bos(text: str) -> int:
    """Parse a token id, or `none`."""
    if text == "none":
        return NO_BOS
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a token id nor none")
    return int(text)
