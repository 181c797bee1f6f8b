"""NVIDIA DALI on the CPU: decoding and six resize filters. No GPU and no driver are needed.

DALI works on pipelines: one is built for each decoder or filter, once in a process, and fed one image at a time.
Every resize passes `interp_type`, `antialias` and `subpixel_scale`, whose defaults have changed over the years.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np
import nvidia.dali
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types


def _build(outputs: Callable[[], Any]) -> Pipeline:
    pipeline = Pipeline(
        batch_size=1,
        num_threads=1,
        device_id=None,
        prefetch_queue_depth=1,
        exec_async=False,
        exec_pipelined=False,
    )
    with pipeline:
        pipeline.set_outputs(outputs())
    pipeline.build()
    return pipeline


@functools.cache
def _decoder(fast_idct: bool) -> Pipeline:
    def outputs() -> Any:
        data = fn.external_source(name="data", dtype=types.UINT8, ndim=1)
        return fn.decoders.image(
            data, device="cpu", output_type=types.RGB, use_fast_idct=fast_idct, adjust_orientation=False
        )

    return _build(outputs)


@functools.cache
def _resizer(interpolation: str, antialias: bool) -> Pipeline:
    def outputs() -> Any:
        image = fn.external_source(name="image", dtype=types.UINT8, ndim=3, layout="HWC")
        size = fn.external_source(name="size", dtype=types.FLOAT, ndim=1)
        return fn.resize(
            image,
            size=size,
            interp_type=getattr(types, interpolation),
            antialias=antialias,
            subpixel_scale=False,
        )

    return _build(outputs)


def _run(pipeline: Pipeline, **inputs: NDArray[Any]) -> NDArray[np.uint8]:
    for name, value in inputs.items():
        pipeline.feed_input(name, [value])
    return np.array(pipeline.run()[0].at(0), np.uint8)


def decode(data: bytes, *, fast_idct: bool) -> NDArray[np.uint8]:
    """`fn.decoders.image` to RGB, with libjpeg-turbo's accurate or fast IDCT; EXIF orientation is not applied."""
    try:
        return _run(_decoder(fast_idct), data=np.frombuffer(data, np.uint8))
    except RuntimeError as error:
        _decoder.cache_clear()  # a pipeline that has failed cannot be run again
        raise ValueError(_reason(str(error))) from None


def resize(
    image: NDArray[np.uint8], width: int, height: int, *, interpolation: str, antialias: bool
) -> NDArray[np.uint8]:
    """`fn.resize` with `subpixel_scale=False` and the given `interp_type` and `antialias`."""
    try:
        size = np.array([height, width], np.float32)
        return _run(_resizer(interpolation, antialias), image=np.ascontiguousarray(image), size=size)
    except RuntimeError as error:
        _resizer.cache_clear()
        raise ValueError(_reason(str(error))) from None


# nvimgcodecStatus_t, in nvImageCodec's nvimgcodec.h.
_STATUS = {"'#3'": "bad codestream", "'#4'": "unsupported codestream"}


def _reason(message: str) -> str:
    """DALI's reason, out of a message that also holds the pipeline's definition and advice."""
    reason = message.rpartition("encountered:")[2].strip().splitlines()[0].rstrip(" :")
    meaning = next((meaning for status, meaning in _STATUS.items() if reason.endswith(status)), None)
    return f"{reason} ({meaning})" if meaning else reason


def versions() -> dict[str, str]:
    """DALI, and nvImageCodec, which decodes for it with a libjpeg-turbo of its own."""
    codec = importlib.metadata.version("nvidia-nvimgcodec-cu12")
    return {"DALI": nvidia.dali.__version__, "DALI/nvImageCodec": codec}
