"""pillow-simd, any release: what `programs/pillow.py` asks of Pillow, whose place it takes in its environment."""

from __future__ import annotations

import re
import sys
from typing import Any

# Beside this program; serve.py, which runs it, finds others by their path alone.
_SERVE: Any = sys.modules["__main__"]
_pillow: Any = _SERVE.load("pillow")

resize = _pillow.resize


def versions() -> dict[str, str]:
    """pillow-simd, which calls itself Pillow, and what is built into it."""
    return {re.sub("^Pillow", "Pillow-SIMD", name): version for name, version in _pillow.versions().items()}
