"""Decode methods that kill, hang or starve the calling process for some images; for all others, Pillow's pixels.

The environment lists these images by the sha256 of their bytes, joined by commas: FAULTY those that always do harm,
FAULTY_ONCE those that do it once for each method, which leaves a mark in the folder FAULTY_MARKS.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import ray
from numpy.typing import NDArray

from generators.pixels import pillow

Image = NDArray[np.uint8]


def _is_faulty(method: str, data: bytes) -> bool:
    digest = hashlib.sha256(data).hexdigest()
    if digest in os.environ["FAULTY_ONCE"].split(","):
        try:
            os.close(os.open(os.path.join(os.environ["FAULTY_MARKS"], method), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True
    return digest in os.environ["FAULTY"].split(",")


def aborts(data: bytes) -> Image:
    if _is_faulty("aborts", data):
        os.abort()
    return pillow.decode(data)


def hangs(data: bytes) -> Image:
    if _is_faulty("hangs", data):
        time.sleep(10_000)
    return pillow.decode(data)


def killed(data: bytes) -> Image:
    """Kills the process, as the kernel does when memory runs out."""
    if _is_faulty("killed", data):
        os.kill(os.getpid(), signal.SIGKILL)
    return pillow.decode(data)


def hungry(data: bytes) -> Image:
    """Allocates more memory than its process may have."""
    if _is_faulty("hungry", data):
        limits = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, limits[1]))
        try:
            np.ones(2**30, np.uint8)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
    return pillow.decode(data)


def resize_aborts(image: Image, width: int, height: int) -> Image:
    if image.shape == (512, 512, 3):
        os.abort()
    return pillow.resize(image, width, height, filter="BOX")


def on_gpu(batch: Sequence[tuple[bytes]]) -> list[Image]:
    """Stands in for a GPU's decoder: it needs the GPU that Ray has assigned to its process, and no other."""
    if ray.get_gpu_ids() != [0]:
        raise ValueError(f"GPUs {ray.get_gpu_ids()}")
    return [pillow.decode(data) for (data,) in batch]


def versions() -> dict[str, str]:
    return {"Faulty": "1"}
