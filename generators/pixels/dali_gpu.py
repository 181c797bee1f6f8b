"""NVIDIA DALI on a GPU: JPEG decoding by nvJPEG, and linear resize, in batches.

An image's pixels do not depend on the batch that it is in. The hardware decoder of A100 and later GPUs, whose pixels
differ from those of nvJPEG's CUDA code, is given no share of the work (`hw_decoder_load=0`).

nvJPEG decodes baseline and progressive JPEGs of 8 bits in Huffman code. Chroma of lower resolution is repeated, or with
`fancy` interpolated, as libjpeg-turbo does it. What nvJPEG is not given (JPEG in CMYK or in arithmetic code, PNG, BMP,
PNM, WebP) or fails on, nvImageCodec decodes on the CPU, as for `dali`, with interpolated chroma; JPEG 2000 and TIFF by
nvJPEG2000 and nvTIFF where these can. A truncated JPEG, which nvJPEG would fill up without a word, is refused.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import Pipeline, backend

from generators.pixels import dali
from generators.registry import MAX_BATCH, Image, LostError

# More pixels than any image here has. By default images above 1,000,000 pixels have their Huffman code decoded on the
# GPU, where nvJPEG takes what a damaged file lacks from whatever lies in memory. Intact files give the same pixels.
_HUFFMAN_ON_CPU = 2**31 - 1
# A marker of a JPEG (ITU-T T.81, B.1.1.2) that is not within a scan, as stuffed zeros and restarts are.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_EOI = b"\xff\xd9"
# One black pixel, as PNM: what a GPU that works cannot fail on.
_PIXEL = np.frombuffer(b"P6 1 1 255 \0\0\0", np.uint8)


@functools.cache
def _decoder(device: str, fancy: bool) -> Pipeline:
    # affine=False: else DALI ties its threads to the first CPUs, and those of every GPU's process to the same.
    return dali.decoder(
        device,
        MAX_BATCH,
        hw_decoder_load=0.0,
        hybrid_huffman_threshold=_HUFFMAN_ON_CPU,
        jpeg_fancy_upsampling=fancy,
        affine=False,
    )


@functools.cache
def _resizer(device: str, interpolation: str, antialias: bool) -> Pipeline:
    return dali.resizer(interpolation, antialias, device, MAX_BATCH)


def decode(batch: Sequence[tuple[bytes]], *, fancy: bool, device: str = "gpu") -> list[Image]:
    """At most `MAX_BATCH` files to RGB by `fn.decoders.image`; EXIF orientation is not applied.

    Raises ValueError where one of them cannot be decoded or is a JPEG without an end, and LostError.
    """
    if any(data.startswith(b"\xff\xd8") and not _ends(data) for (data,) in batch):
        raise ValueError("the JPEG is truncated")
    files = [np.frombuffer(data, np.uint8) for (data,) in batch]
    return _run(lambda: _decoder(device, fancy), device, data=files)


def _ends(jpeg: bytes) -> bool:
    """Whether the marker of its end is there, outside of the segments, which may hold that of a thumbnail."""
    if jpeg.endswith(_EOI):  # as nearly all do
        return True
    at = 2
    while found := _MARKER.search(jpeg, at):
        if found[0] == _EOI:
            return True
        at = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2], "big")
    return False


def resize(
    batch: Sequence[tuple[Image, int, int]], *, interpolation: str, antialias: bool, device: str = "gpu"
) -> list[Image]:
    """At most `MAX_BATCH` images, each to a width and height, by `fn.resize` with `subpixel_scale=False`.

    Raises as `decode` does.
    """
    images = [np.ascontiguousarray(image) for image, _, _ in batch]
    sizes = [np.array([height, width], np.float32) for _, width, height in batch]
    return _run(lambda: _resizer(device, interpolation, antialias), device, image=images, size=sizes)


def _run(pipeline: Callable[[], Pipeline], device: str, **inputs: Sequence[NDArray[Any]]) -> list[Image]:
    """Run a batch through a pipeline; a failure is the batch's, unless the GPU then fails on a single pixel too.

    After an illegal access CUDA refuses everything to this process, and every later image would be blamed for it.
    """
    try:
        return dali.run(pipeline(), **inputs)
    except RuntimeError as error:
        reason = dali.reason(str(error))
    _forget()
    try:
        dali.run(_decoder(device, False), data=[_PIXEL])
    except RuntimeError as error:
        _forget()
        raise LostError(f"the GPU fails on everything ({dali.reason(str(error))})") from None
    raise ValueError(reason)


def _forget() -> None:
    """Drop the pipelines: one that has failed cannot be run again."""
    _decoder.cache_clear()
    _resizer.cache_clear()


def gpu_problem() -> str | None:
    """Why no GPU can be used on this machine, in a few words; None if one can."""
    try:
        return None if backend.GetCUDADeviceCount() else "CUDA shows none"
    except RuntimeError as error:  # some drivers count, others complain
        return dali.reason(str(error))


def versions() -> dict[str, str]:
    """As for DALI on the CPU, and of the libraries that decode on the GPU, as they are loaded.

    Which file that is depends on LD_LIBRARY_PATH. Raises ImportError where nvJPEG is missing: DALI would decode
    everything on the CPU without a word.
    """
    _decoder("cpu", False)  # with any decoder, nvImageCodec loads all that it finds
    found = {f"DALI/{name}": version for name in ("nvJPEG", "nvJPEG2k", "nvTIFF") if (version := _version(name))}
    if "DALI/nvJPEG" not in found:
        raise ImportError("nvJPEG is not there: pip install nvidia-nvjpeg-cu12")
    return dali.versions() | found


def _version(name: str) -> str | None:
    """The version of one of NVIDIA's codecs, by its own account; None where it is not loaded."""
    prefix = name.lower()
    fields = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    paths = (Path(found[5]) for found in fields if len(found) == 6)
    path = next((path for path in paths if path.name.startswith(f"lib{prefix}.so")), None)
    if path is None:
        return None
    get_property = getattr(ctypes.CDLL(str(path)), f"{prefix}GetProperty")
    parts = [ctypes.c_int() for _ in range(3)]  # libraryPropertyType_t, in library_types.h: major, minor, patch
    for number, part in enumerate(parts):
        get_property(number, ctypes.byref(part))
    return ".".join(str(part.value) for part in parts)
