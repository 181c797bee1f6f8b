"""Rows of mel-spectrogram sets: each one's recording, and its distance from the reference's spectrogram.

The spectrogram itself is the member `mel.npy`: float32 of shape (bands, frames), natural logarithm, row-major.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.residuals import MelResiduals
from manifests.row import Kind, Row
from manifests.shape import COUNT, NUMBER

# Datasets whose samples are recordings.
SPOKEN = frozenset({"speech"})
# Largest difference promised for any value of a spectrogram on another kind of machine, in natural-logarithm units.
# Libraries calculate in float32: up to 0.0019 was measured against float64 (torch_stft), in values near the floor.
TOLERANCE = 1e-2
# The members with the spectrogram and the transcript.
MEL, TEXT = "mel.npy", "txt"

COLUMNS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source_path", pa.string(), nullable=False),
        pa.field("source_sha256", pa.string(), nullable=False),
        pa.field("source_rate", pa.int32(), nullable=False),
        pa.field("source_channels", pa.int32(), nullable=False),
        pa.field("source_samples", pa.int32(), nullable=False),
        pa.field("bands", pa.int32(), nullable=False),
        pa.field("frames", pa.int32(), nullable=False),
        pa.field("mel_sha256", pa.string(), nullable=False),
        pa.field("residual_mse", pa.float64()),
        pa.field("residual_max_abs", pa.float64()),
        pa.field("residual_frames", pa.int32()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class MelRow(Row):
    """One recording in one variant: the columns of `manifest.parquet`, and the other fields of its `json` member.

    `source_rate` is in Hz and `source_samples` counts one channel's samples; both are 0 if unknown. `mel_sha256` is the
    hash of the spectrogram's float32 values in row order. Residuals are in natural-logarithm units over the frames that
    both spectrograms have; `residual_frames` is the number of frames minus the reference's. They are None if there is
    no reference to compare with.
    """

    text: str
    source_rate: int
    source_channels: int
    source_samples: int
    bands: int = 0
    frames: int = 0
    mel_sha256: str = ""
    residual_mse: float | None = None
    residual_max_abs: float | None = None
    residual_frames: int | None = None

    def member(self) -> dict[str, Any]:
        return {
            "source_rate": self.source_rate,
            "source_channels": self.source_channels,
            "source_samples": self.source_samples,
            "bands": self.bands,
            "frames": self.frames,
            "source_sha256": self.source_sha256,
            "mel_sha256": self.mel_sha256,
            **self.extra,
        }

    def members(self, config: Mapping[str, Any]) -> dict[str, bytes | None]:
        return {MEL: None, TEXT: self.text.encode(), "json": self.json()}


def mel_sha256(mel: NDArray[np.float32]) -> str:
    """sha256 of a spectrogram's values: float32, little-endian, in row order."""
    return hashlib.sha256(np.ascontiguousarray(mel, "<f4").data).hexdigest()


def _about(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"mel": config.get("mel")}


_SETTINGS = dict.fromkeys(("rate", "n_fft", "hop", "window", "bands"), COUNT) | {"low": NUMBER, "high": NUMBER}
MELS = Kind(
    row=MelRow,
    columns=COLUMNS,
    longest_extension=MEL,
    digest="mel_sha256",
    digest_of_all="mels_sha256",
    stages=("resample", "stft"),
    config={"mel": _SETTINGS},
    about=_about,
    about_shape={"mel": _SETTINGS},
    residual_columns=("residual_mse", "residual_max_abs", "residual_frames"),
    residuals=MelResiduals.of,
    summary={"compared": COUNT, "mse": (float, None), "max_abs": (float, None), "frames": (COUNT, None)},
)
