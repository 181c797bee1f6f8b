"""NVIDIA DALI on the CPU: decoding and six resize filters. Needs no GPU and no driver.

DALI works in pipelines: one is built per process for each decoder or filter, and fed one image at a time. Every resize
sets `interp_type`, `antialias` and `subpixel_scale`, whose defaults have changed over the years. The pipelines of
`dali_gpu.py` are also built here: only their device and batch size differ.
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

# The first GPU that CUDA shows; in a Ray actor, that is its own.
_GPU = 0
# nvJPEG decodes Huffman codes on the CPU, one image per thread: a few threads keep a GPU busy.
_GPU_THREADS = 4


def build(outputs: Callable[[], Any], device: str = "cpu", batch: int = 1) -> Pipeline:
    """A synchronous pipeline of what `outputs` defines; on the CPU, with one thread."""
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
        warnings.simplefilter("ignore")  # on a GPU, DALI warns that cuFFT and NPP, for audio and video, are missing
        pipeline.build()
    return pipeline


def decoder(device: str = "cpu", batch: int = 1, **options: Any) -> Pipeline:
    """`fn.decoders.image` to RGB on `cpu` or `gpu`, with the input `data`. EXIF orientation is not applied."""

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
    """`fn.resize` with `subpixel_scale=False` on `cpu` or `gpu`, with the inputs `image` and `size` (height, width)."""

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
    """Feed one batch to a pipeline, and copy its outputs. Raises RuntimeError."""
    for name, values in inputs.items():
        pipeline.feed_input(name, values)
    tensors = pipeline.run()[0].as_cpu()
    return [np.array(tensors.at(index)) for index in range(len(tensors))]


# By process and pipeline, since a fork does not have the threads that its parent's pipelines run on.
_PIPELINES: dict[tuple[Any, ...], Pipeline] = {}


def call(make: Callable[..., Pipeline], *options: Any, **inputs: NDArray[Any]) -> NDArray[Any]:
    """Run the pipeline `make(*options)`, which is built once, on one sample. Raises ValueError with DALI's reason."""
    key = os.getpid(), make, *options
    try:
        if key not in _PIPELINES:
            _PIPELINES[key] = make(*options)
        (made,) = run(_PIPELINES[key], **{name: [value] for name, value in inputs.items()})
        return made
    except RuntimeError as error:
        _PIPELINES.pop(key, None)  # a pipeline that has failed cannot be run again
        raise ValueError(reason(str(error))) from None


def _decoder(fast_idct: bool) -> Pipeline:
    return decoder(use_fast_idct=fast_idct)


def decode(data: bytes, *, fast_idct: bool) -> NDArray[np.uint8]:
    """`fn.decoders.image` to RGB, with libjpeg-turbo's accurate or fast IDCT; EXIF orientation is not applied."""
    return call(_decoder, fast_idct, data=np.frombuffer(data, np.uint8))


def resize(
    image: NDArray[np.uint8], width: int, height: int, *, interpolation: str, antialias: bool
) -> NDArray[np.uint8]:
    """`fn.resize` with `subpixel_scale=False` and the given `interp_type` and `antialias`."""
    size = np.array([height, width], np.float32)
    return call(resizer, interpolation, antialias, image=np.ascontiguousarray(image), size=size)


# nvimgcodecStatus_t, in nvImageCodec's nvimgcodec.h.
_STATUS = {"'#3'": "bad codestream", "'#4'": "unsupported codestream"}


def reason(message: str) -> str:
    """DALI's reason, from a message that also contains the pipeline's definition and advice."""
    line = message.rpartition("encountered:")[2].strip().splitlines()[0].rstrip(" :")
    meaning = next((meaning for status, meaning in _STATUS.items() if line.endswith(status)), None)
    return f"{line} ({meaning})" if meaning else line


def versions() -> dict[str, str]:
    """DALI, and nvImageCodec, its decoder, which has its own libjpeg-turbo."""
    codec = importlib.metadata.version("nvidia-nvimgcodec-cu12")
    return {"DALI": nvidia.dali.__version__, "DALI/nvImageCodec": codec}
