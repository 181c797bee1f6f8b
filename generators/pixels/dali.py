"""NVIDIA DALI on the CPU: decoding and six resize filters. No GPU and no driver are needed.

DALI works on pipelines: one is built for each decoder or filter, once in a process, and fed one image at a time.
Every resize passes `interp_type`, `antialias` and `subpixel_scale`, whose defaults have changed over the years. The
pipelines of `dali_gpu.py` are built here too: they differ in the device and the size of the batch.
"""

from __future__ import annotations

import importlib.metadata
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import nvidia.dali
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types

# The first GPU that CUDA shows, which for a Ray actor is its own.
_GPU = 0
# nvJPEG leaves Huffman decoding to the CPU, by images: a few threads keep a GPU supplied.
_GPU_THREADS = 4


def build(outputs: Callable[[], Any], device: str = "cpu", batch: int = 1) -> Pipeline:
    """A pipeline of what `outputs` defines, which runs when it is told to, and with one thread on the CPU."""
    pipeline = Pipeline(
        batch_size=batch,
        num_threads=1 if device == "cpu" else _GPU_THREADS,
        device_id=None if device == "cpu" else _GPU,
        prefetch_queue_depth=1,
        exec_async=False,
        exec_pipelined=False,
    )
    with pipeline:
        pipeline.set_outputs(outputs())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on a GPU, DALI misses cuFFT and NPP, which audio and video need
        pipeline.build()
    return pipeline


def decoder(device: str = "cpu", batch: int = 1, **options: Any) -> Pipeline:
    """`fn.decoders.image` to RGB on `cpu` or `gpu`; `data` is what it is fed. EXIF orientation is not applied."""

    def outputs() -> Any:
        data = fn.external_source(name="data", dtype=types.UINT8, ndim=1)
        return fn.decoders.image(
            data,
            device="cpu" if device == "cpu" else "mixed",
            output_type=types.RGB,
            adjust_orientation=False,
            **options,
        )

    return build(outputs, device, batch)


def resizer(interpolation: str, antialias: bool, device: str = "cpu", batch: int = 1) -> Pipeline:
    """`fn.resize` with `subpixel_scale=False` on `cpu` or `gpu`; `image` and `size` (height, width) are fed to it."""

    def outputs() -> Any:
        image = fn.external_source(name="image", dtype=types.UINT8, ndim=3, layout="HWC")
        size = fn.external_source(name="size", dtype=types.FLOAT, ndim=1)
        return fn.resize(
            image if device == "cpu" else image.gpu(),
            size=size,
            interp_type=getattr(types, interpolation),
            antialias=antialias,
            subpixel_scale=False,
        )

    return build(outputs, device, batch)


def run(pipeline: Pipeline, **inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Feed one batch to a pipeline, and copy what comes out of it. Raises RuntimeError."""
    for name, values in inputs.items():
        pipeline.feed_input(name, values)
    tensors = pipeline.run()[0].as_cpu()
    return [np.array(tensors.at(index)) for index in range(len(tensors))]


# By process and what made it: a fork has none of the threads that its parent's pipelines run on.
_PIPELINES: dict[tuple[Any, ...], Pipeline] = {}


def _run(make: Callable[..., Pipeline], *options: Any, **inputs: NDArray[Any]) -> NDArray[np.uint8]:
    """What the pipeline that `make` makes of options makes of one image. Raises ValueError with DALI's reason."""
    key = os.getpid(), make, *options
    try:
        if key not in _PIPELINES:
            _PIPELINES[key] = make(*options)
        (image,) = run(_PIPELINES[key], **{name: [value] for name, value in inputs.items()})
        return image
    except RuntimeError as error:
        _PIPELINES.pop(key, None)  # a pipeline that has failed cannot be run again
        raise ValueError(reason(str(error))) from None


def _decoder(fast_idct: bool) -> Pipeline:
    return decoder(use_fast_idct=fast_idct)


def decode(data: bytes, *, fast_idct: bool) -> NDArray[np.uint8]:
    """`fn.decoders.image` to RGB, with libjpeg-turbo's accurate or fast IDCT; EXIF orientation is not applied."""
    return _run(_decoder, fast_idct, data=np.frombuffer(data, np.uint8))


def resize(
    image: NDArray[np.uint8], width: int, height: int, *, interpolation: str, antialias: bool
) -> NDArray[np.uint8]:
    """`fn.resize` with `subpixel_scale=False` and the given `interp_type` and `antialias`."""
    size = np.array([height, width], np.float32)
    return _run(resizer, interpolation, antialias, image=np.ascontiguousarray(image), size=size)


# nvimgcodecStatus_t, in nvImageCodec's nvimgcodec.h.
_STATUS = {"'#3'": "bad codestream", "'#4'": "unsupported codestream"}


def reason(message: str) -> str:
    """DALI's reason, out of a message that also holds the pipeline's definition and advice."""
    line = message.rpartition("encountered:")[2].strip().splitlines()[0].rstrip(" :")
    meaning = next((meaning for status, meaning in _STATUS.items() if line.endswith(status)), None)
    return f"{line} ({meaning})" if meaning else line


def versions() -> dict[str, str]:
    """DALI, and nvImageCodec, which decodes for it with a libjpeg-turbo of its own."""
    codec = importlib.metadata.version("nvidia-nvimgcodec-cu12")
    return {"DALI": nvidia.dali.__version__, "DALI/nvImageCodec": codec}
