"""NVIDIA DALI on a GPU: JPEG decoding by nvJPEG, and linear resize, in batches.

An image's pixels do not depend on its batch. The hardware decoder of A100 and later GPUs, whose pixels differ from
those of nvJPEG's CUDA code, is not used (`hw_decoder_load=0`).

nvJPEG decodes 8-bit baseline and progressive JPEGs with Huffman coding. Subsampled chroma is repeated or, with `fancy`,
interpolated as in libjpeg-turbo. Images that nvJPEG does not take (CMYK or arithmetic-coded JPEG, PNG, BMP, PNM, WebP)
or fails on are decoded by nvImageCodec on the CPU, as for `dali`, with interpolated chroma; JPEG 2000 and TIFF by
nvJPEG2000 and nvTIFF if they can. Truncated JPEGs, which nvJPEG would fill up without an error, are refused.
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

from generators.method import MAX_BATCH, Image, LostError
from generators.pixels import dali

# More pixels than any image here has. By default, Huffman codes of images above 1,000,000 pixels are decoded on the
# GPU, where nvJPEG reads past the end of damaged files into other memory. Intact files give the same pixels either way.
_HUFFMAN_ON_CPU = 2**31 - 1
# A JPEG marker (ITU-T T.81, B.1.1.2) other than those within a scan: stuffed zeros and restarts.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_EOI = b"\xff\xd9"
# One black pixel, as PNM: no working GPU fails on it.
_PIXEL = np.frombuffer(b"P6 1 1 255 \0\0\0", np.uint8)


@functools.cache
def _decoder(device: str, fancy: bool) -> Pipeline:
    # affine=False: otherwise DALI pins its threads to the first CPUs, the same ones for every GPU's process.
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
    """Decode up to `MAX_BATCH` files to RGB with `fn.decoders.image`; EXIF orientation is not applied.

    Raises ValueError if one of them cannot be decoded or is a truncated JPEG, and LostError.
    """
    if any(data.startswith(b"\xff\xd8") and not _ends(data) for (data,) in batch):
        raise ValueError("the JPEG is truncated")
    files = [np.frombuffer(data, np.uint8) for (data,) in batch]
    return _run(lambda: _decoder(device, fancy), device, data=files)


def _ends(jpeg: bytes) -> bool:
    """Whether the end marker is there, outside of the segments, which may contain a thumbnail's."""
    if jpeg.endswith(_EOI):  # nearly all do
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
    """Resize up to `MAX_BATCH` images, each to its width and height, with `fn.resize` and `subpixel_scale=False`.

    Raises as `decode` does.
    """
    images = [np.ascontiguousarray(image) for image, _, _ in batch]
    sizes = [np.array([height, width], np.float32) for _, width, height in batch]
    return _run(lambda: _resizer(device, interpolation, antialias), device, image=images, size=sizes)


def _run(pipeline: Callable[[], Pipeline], device: str, **inputs: Sequence[NDArray[Any]]) -> list[Image]:
    """Run a batch through a pipeline. If it fails, raises ValueError, or LostError if the GPU now fails on a pixel too.

    After an illegal access, CUDA refuses everything in this process, and later images would be blamed for it.
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
    except RuntimeError as error:  # some drivers report 0, others fail
        return dali.reason(str(error))


def versions() -> dict[str, str]:
    """The versions of DALI on the CPU, and of the GPU decoding libraries that were loaded.

    Which files are loaded depends on LD_LIBRARY_PATH. Raises ImportError if nvJPEG is missing: DALI would silently
    decode everything on the CPU.
    """
    _decoder("cpu", False)  # any decoder makes nvImageCodec load all the libraries that it finds
    found = {f"DALI/{name}": version for name in ("nvJPEG", "nvJPEG2k", "nvTIFF") if (version := _version(name))}
    if "DALI/nvJPEG" not in found:
        raise ImportError("nvJPEG is missing: pip install nvidia-nvjpeg-cu12")
    return dali.versions() | found


def _version(name: str) -> str | None:
    """The version that one of NVIDIA's codecs reports; None if it is not loaded."""
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
