"""Markdown for the reports."""

from __future__ import annotations

import re


def escaped(text: str) -> str:
    """Text that Markdown shows unchanged, also in a table."""
    return re.sub(r"([\\|<>`*_\[\]])", r"\\\1", text)
