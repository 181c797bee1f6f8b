"""NVIDIA DALI on the CPU, any release from 1.23: does the same as `generators/pixels/dali.py`."""

from __future__ import annotations

import functools
import re
from typing import Any, Callable, Tuple

import numpy as np
import nvidia.dali
from nvidia.dali import Pipeline, backend, fn, types

Given = Tuple[int, int, memoryview]
Made = Tuple[int, int, Any]

# The first releases never rotate images, and lack the option.
_TURNS = "adjust_orientation" in backend.GetSchema("decoders__Image").GetArgumentNames()
_AS_STORED = {"adjust_orientation": False} if _TURNS else {}
# The first releases prefix messages with the thread and the source file.
_WHERE = re.compile(r"Error in thread \d+: |\[/\S+:\d+\] ")
# nvimgcodecStatus_t, in nvImageCodec's nvimgcodec.h.
_STATUS = {"'#3'": "bad codestream", "'#4'": "unsupported codestream"}


def decode(data: memoryview, fast_idct: bool) -> Made:
    """`fn.decoders.image` to RGB, with the accurate or the fast IDCT; EXIF orientation is not applied."""
    return _run(_decoder, (fast_idct,), data=np.frombuffer(data, np.uint8))


def resize(image: Given, width: int, height: int, interpolation: str, antialias: bool) -> Made:
    """`fn.resize` with `subpixel_scale=False` and the given `interp_type` and `antialias`."""
    rows, columns, pixels = image
    return _run(
        _resizer,
        (interpolation, antialias),
        image=np.frombuffer(pixels, np.uint8).reshape(rows, columns, 3),
        size=np.array([height, width], np.float32),
    )


def versions() -> dict[str, str]:
    """DALI, and nvImageCodec if the release decodes with it."""
    found = {"DALI": nvidia.dali.__version__}
    try:
        from importlib.metadata import version

        found["DALI/nvImageCodec"] = version("nvidia-nvimgcodec-cu12")
    except ImportError:  # no such distribution, or Python 3.7, for which no release needs it
        pass
    return found


@functools.lru_cache(maxsize=8)  # more than there are methods
def _decoder(fast_idct: bool) -> Any:
    def outputs() -> Any:
        data = fn.external_source(name="data", dtype=types.UINT8, ndim=1)
        return fn.decoders.image(data, device="cpu", output_type=types.RGB, use_fast_idct=fast_idct, **_AS_STORED)

    return _build(outputs)


@functools.lru_cache(maxsize=8)  # more than there are methods
def _resizer(interpolation: str, antialias: bool) -> Any:
    def outputs() -> Any:
        image = fn.external_source(name="image", dtype=types.UINT8, ndim=3, layout="HWC")
        size = fn.external_source(name="size", dtype=types.FLOAT, ndim=1)
        kind = getattr(types, interpolation)
        return fn.resize(image, size=size, interp_type=kind, antialias=antialias, subpixel_scale=False)

    return _build(outputs)


def _build(outputs: Callable[[], Any]) -> Any:
    pipeline = Pipeline(
        batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1, exec_async=False, exec_pipelined=False
    )
    with pipeline:
        pipeline.set_outputs(outputs())
    pipeline.build()
    return pipeline


def _run(maker: Any, options: Tuple[Any, ...], **inputs: Any) -> Made:
    """Run a pipeline; the image remains in its memory until the next run."""
    try:
        pipeline = maker(*options)
        for name, value in inputs.items():
            pipeline.feed_input(name, [value], layout="HWC" if name == "image" else None)
        image = pipeline.run()[0].at(0)
    except RuntimeError as error:
        maker.cache_clear()  # a pipeline that has failed cannot be run again
        raise ValueError(_reason(str(error))) from None
    return image.shape[0], image.shape[1], np.ascontiguousarray(image)


def _reason(message: str) -> str:
    """DALI's reason, from a message that also contains the pipeline's definition and advice."""
    line = message.rpartition("encountered:")[2].strip().splitlines()[0].rstrip(" :")
    line = _WHERE.sub("", line)
    meaning = next((meaning for status, meaning in _STATUS.items() if line.endswith(status)), None)
    return f"{line} ({meaning})" if meaning else line
