"""What `--bos` takes. Imports nothing that takes time: --help needs it."""

from __future__ import annotations

import argparse

# What `--bos none` says.
NO_BOS = -1


def bos(text: str) -> int:
    """A token's id, or `none`."""
    if text == "none":
        return NO_BOS
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a token's id nor none")
    return int(text)
