"""torchvision, any release from 0.9: `torchvision.io.decode_image`, and `resize` of its functional transforms.

They are those of its transforms v2 where there are (0.15 and later): on 8 bits these have arithmetic of their own from
0.16, on CPUs with AVX2 (bilinear; bicubic on any). Where they have not, and before v2, the sums are made in floats, and
torchvision rounds and clips them. Antialiasing of tensors came with 0.10, and is their default since 0.17; Pillow's
images always had it.
"""

from __future__ import annotations

import inspect
import os
import re
from typing import Any, Tuple

# A process a core runs, and threads of its own would fight over them.
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

# Releases before 0.10 resize tensors without antialiasing, and cannot be told so.
_SMOOTH = "antialias" in inspect.signature(functional.resize).parameters
# What stands before the reason: the function, and the line of C++.
_WHERE = re.compile(r"^\w+, \S+:\d+, ")


def decode(data: memoryview) -> Made:
    """`decode_image` to RGB, which decodes a JPEG as `decode_jpeg` does; 16 bits are scaled to 8 by `to_dtype`, as its
    documentation recommends. Of an animation, the first frame.
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
    """`resize` of a tensor of 8 bits with one of `InterpolationMode`. Its `nearest` has no antialiasing, and takes
    what lies under the corner of each new pixel, as OpenCV does, where Pillow takes what is under the middle.
    """
    smooth = {} if interpolation == "nearest" else {"antialias": antialias}
    if not _SMOOTH and smooth.pop("antialias", False):
        raise ValueError("torchvision antialiases no tensor before 0.10")
    mode = functional.InterpolationMode(interpolation)
    return _given(transforms.resize(_tensor(image), [height, width], interpolation=mode, **smooth))


def versions() -> dict[str, str]:
    """torchvision, and the build of PyTorch that it calculates with."""
    return {"torchvision": torchvision.__version__.partition("+")[0], "torchvision/torch": torch.__version__}


def _tensor(image: Given) -> Any:
    """Channels first, as they lie in memory after `decode_image`: a view."""
    height, width, pixels = image
    return torch.from_numpy(np.frombuffer(pixels, np.uint8).reshape(height, width, 3)).permute(2, 0, 1)


def _given(image: Any) -> Made:
    return image.shape[1], image.shape[2], image.permute(1, 2, 0).contiguous().numpy()


def _reason(error: Exception) -> str:
    """Without where in the library it was found, which is told in many lines by some releases."""
    return _WHERE.sub("", str(error).splitlines()[0])
