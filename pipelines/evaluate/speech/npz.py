"""The format of predicted spectrograms: an `.npz` of float32 (bands, frames) by key, which `--predictions` takes."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.evaluate.speech.arrays import ARRAY, ZIP

# The earliest time that a zip can have, so that its bytes depend only on its content.
_TIME = (1980, 1, 1, 0, 0, 0)


class Arrays:
    """Predictions as `readers.Form` has them; a row is a key and its spectrogram."""

    suffix = ZIP

    def write(self, rows: Sequence[Any], path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for key, values in rows:
                with archive.open(zipfile.ZipInfo(f"{key}{ARRAY}", _TIME), "w", force_zip64=True) as file:
                    np.save(file, np.ascontiguousarray(values, "<f4"), allow_pickle=False)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for part in parts:
                with zipfile.ZipFile(part) as one:
                    for member in one.infolist():
                        with one.open(member) as source, archive.open(member, "w", force_zip64=True) as copy:
                            shutil.copyfileobj(source, copy)
