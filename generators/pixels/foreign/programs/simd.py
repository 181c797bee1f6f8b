"""pillow-simd, any release: does the same as `programs/pillow.py`. In its environment, it takes Pillow's place."""

from __future__ import annotations

import re
import sys
from typing import Any

# Next to this program; serve.py, which runs it, loads other programs by path.
_SERVE: Any = sys.modules["__main__"]
_pillow: Any = _SERVE.load("pillow")

resize = _pillow.resize


def versions() -> dict[str, str]:
    """pillow-simd, which calls itself Pillow, and the codecs in it."""
    return {re.sub("^Pillow", "Pillow-SIMD", name): version for name, version in _pillow.versions().items()}
