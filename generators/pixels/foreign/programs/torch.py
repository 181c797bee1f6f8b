"""PyTorch as installed with torchvision, any release from 0.9: `torch.stft`, and mel spectrograms from it as in
FastSpeech 2's code.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from typing import Any, Dict, Tuple

# One process runs per core, so threads would compete for them; several may also sum in another order.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

torch.set_num_threads(1)

Given = Tuple[int, memoryview]
Made = Tuple[int, int, Any]

# Next to this program; serve.py, which runs it, loads other programs by path.
_SERVE: Any = sys.modules["__main__"]
_mel: Any = _SERVE.load("mel")


def stft(samples: Given, settings: Dict[str, Any]) -> Made:
    """`torch.stft` with a periodic Hann window and its defaults (centred, reflected); magnitude; multiplied by
    librosa's mel filters in float32; ln(max(mel, 1e-5)), as `torch.log(torch.clamp(mel, min=1e-5))`.
    """
    count, data = samples
    half = settings["n_fft"] // 2
    if count <= half:  # PyTorch's own message is long
        raise ValueError(f"{count} samples are too few to reflect {half} of them: {half + 1} are needed")
    transformed = torch.stft(
        torch.from_numpy(np.frombuffer(data, np.float32)),
        settings["n_fft"],
        settings["hop"],
        settings["window"],
        torch.hann_window(settings["window"]),
        return_complex=True,
    )
    numbers = (settings[name] for name in ("rate", "n_fft", "bands", "low", "high"))
    filters = torch.tensor(_mel.filters(*numbers, dtype="float32"))
    made = torch.log(torch.clamp(torch.matmul(filters, transformed.abs()), min=1e-5)).contiguous().numpy()
    return made.shape[0], made.shape[1], made


def versions() -> Dict[str, str]:
    """torchvision, whose environment this is and which is slow to import, and PyTorch."""
    own = importlib.metadata.version("torchvision").partition("+")[0]
    return {"torchvision": own, "torchvision/torch": torch.__version__}
