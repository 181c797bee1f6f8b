"""torchvision, any release from 0.9: `torchvision.io.decode_image`, and `resize` of its functional transforms.

The transforms are v2's if they exist (from 0.15). From 0.16 on, v2 has its own 8-bit arithmetic on CPUs with AVX2
(bilinear; for bicubic, on any CPU). Otherwise, and before v2, it computes in floats, which torchvision rounds and
clips. Antialiasing of tensors came with 0.10 and is the default since 0.17; for Pillow's images it always was.
"""

from __future__ import annotations

import inspect
import os
import re
from typing import Any, Tuple

# One process runs per core, and threads would compete for them.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
import torchvision
from torchvision.transforms import functional

try:
    from torchvision.io.image import ImageReadMode, decode_image
except ImportError:
    raise ImportError("torchvision decodes no file to RGB before 0.9") from None

torch.set_num_threads(1)

Given = Tuple[int, int, memoryview]
Made = Tuple[int, int, Any]

if hasattr(torchvision, "disable_beta_transforms_warning"):  # v2 was a beta until 0.17
    torchvision.disable_beta_transforms_warning()
try:
    from torchvision.transforms.v2 import functional as transforms
except ImportError:
    transforms = functional

# Releases before 0.10 resize tensors without antialiasing, and lack the option.
_SMOOTH = "antialias" in inspect.signature(functional.resize).parameters
# The function and the line of C++, before the reason.
_WHERE = re.compile(r"^\w+, \S+:\d+, ")


def decode(data: memoryview) -> Made:
    """`decode_image` to RGB, which decodes JPEGs like `decode_jpeg`; 16 bits are scaled to 8 by `to_dtype`, as its
    documentation recommends. Of an animation, the first frame is taken.
    """
    try:
        image = decode_image(torch.from_numpy(np.frombuffer(data, np.uint8)), mode=ImageReadMode.RGB)
    except RuntimeError as error:
        raise ValueError(_reason(error)) from None
    if image.dim() == 4:
        image = image[0]
    if image.dtype != torch.uint8:
        image = transforms.to_dtype(image, torch.uint8, scale=True)
    return _given(image)


def resize(image: Given, width: int, height: int, interpolation: str, antialias: bool = True) -> Made:
    """`resize` of an 8-bit tensor with one of `InterpolationMode`. Its `nearest` is never antialiased, and takes the
    source pixel under the corner of each new pixel, like OpenCV, while Pillow takes the one under its centre.
    """
    smooth = {} if interpolation == "nearest" else {"antialias": antialias}
    if not _SMOOTH and smooth.pop("antialias", False):
        raise ValueError("torchvision antialiases no tensor before 0.10")
    mode = functional.InterpolationMode(interpolation)
    return _given(transforms.resize(_tensor(image), [height, width], interpolation=mode, **smooth))


def versions() -> dict[str, str]:
    """torchvision, and its build of PyTorch."""
    return {"torchvision": torchvision.__version__.partition("+")[0], "torchvision/torch": torch.__version__}


def _tensor(image: Given) -> Any:
    """A view with channels first, laid out in memory as by `decode_image`."""
    height, width, pixels = image
    return torch.from_numpy(np.frombuffer(pixels, np.uint8).reshape(height, width, 3)).permute(2, 0, 1)


def _given(image: Any) -> Made:
    return image.shape[1], image.shape[2], image.permute(1, 2, 0).contiguous().numpy()


def _reason(error: Exception) -> str:
    """The reason without its place in the library, on which some releases spend many lines."""
    return _WHERE.sub("", str(error).splitlines()[0])
