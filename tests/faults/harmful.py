"""A decoder for a foreign library's process that aborts or hangs on an image; for all others, Pillow's pixels.

The first image of FAULTY does the harm. On those of FAULTY_ONCE the process is killed once for each kind of harm, with
marks in FAULTY_MARKS, as in `faulty`.
"""

from __future__ import annotations

import hashlib
import io
import os
import signal
import time
from typing import Any

import PIL
from PIL import Image


def decode(data: memoryview, harm: str) -> tuple[int, int, bytes]:
    """`Image.open(...).convert("RGB")`, except for the images that do harm."""
    digest = hashlib.sha256(data).hexdigest()
    if digest == os.environ["FAULTY"].split(",")[0]:
        _ALWAYS[harm]()
    if digest in os.environ["FAULTY_ONCE"].split(",") and _first(harm):
        os.kill(os.getpid(), signal.SIGKILL)
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return picture.height, picture.width, picture.tobytes()


def versions() -> dict[str, str]:
    return {"Pillow": PIL.__version__}


def _first(harm: str) -> bool:
    try:
        os.close(os.open(os.path.join(os.environ["FAULTY_MARKS"], "its_" + harm), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


_ALWAYS: Any = {"aborts": os.abort, "hangs": lambda: time.sleep(10_000), "lives": lambda: None}
