"""Small sets of mel spectrograms, written without the code that makes sets."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.derive import derive
from manifests.mels import MelRow, mel_sha256
from manifests.residual import mel_residual
from manifests.schema import Recipe, Record
from manifests.verify import check_folder, check_tar
from pipelines.generate.tar import TarWriter
from pipelines.store import Disk

Mel = NDArray[np.float32]

RECIPE = Recipe(
    "scipy_poly",
    {"resample": "scipy_poly", "stft": "numpy_stft"},
    {
        **{"dataset": "speech", "reference": "soxr_hq+numpy_stft", "samples_per_shard": 2},
        "source": {"kind": "ljspeech", "samples": 4, "sha256": "0" * 64},
        "mel": {"rate": 22050, "n_fft": 1024, "hop": 256, "window": 1024, "bands": 80, "low": 0.0, "high": 8000.0},
    },
    {"libraries": {"NumPy": "2"}, "cpu": {"architecture": "x86_64"}, "probe_sha256": "0" * 64},
)
# The frames of each recording and of its reference: one is longer, one shorter.
FRAMES = [(7, 7), (9, 8), (5, 6), (6, 6)]
NAMES = ["validation-00000-of-00002", "validation-00001-of-00002"]


def mels(seed: int) -> tuple[list[Mel], list[Mel]]:
    """Spectrograms of a variant and of the reference, which agree on the last recording."""
    chance = np.random.default_rng(seed)
    made, base = (
        [chance.normal(-4, 3, (80, frames)).astype(np.float32) for frames in lengths]
        for lengths in zip(*FRAMES, strict=True)
    )
    return [*made[:-1], base[-1]], base


def row(number: int, mel: Mel, reference: Mel | None) -> MelRow:
    found = None if reference is None else mel_residual(mel, reference)
    return MelRow(
        key=f"LJ001-{number:04d}",
        shard=number // 2,
        text=f"“Printing”, in\tthe only\nsense {number} – Zoë",
        source_path=f"wavs/LJ001-{number:04d}.wav",
        source_sha256=f"{number:064x}",
        source_rate=22050,
        source_channels=1,
        source_samples=256 * mel.shape[1],
        bands=mel.shape[0],
        frames=mel.shape[1],
        mel_sha256=mel_sha256(mel),
        residual_mse=found.mse if found else None,
        residual_max_abs=found.max_abs if found else None,
        residual_frames=found.frames if found else None,
        extra={"speaker": 3},
    )


def npy(mel: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, mel)
    return file.getvalue()


def write(folder: Path, change: Callable[[dict[str, bytes]], object] = dict) -> list[Record]:
    """A variant of four recordings in two shards; `change` alters the members before the tars are written."""
    made, base = mels(0)
    rows = [row(number, *pair) for number, pair in enumerate(zip(made, base, strict=True))]
    records = []
    for shard, name in enumerate(NAMES):
        members: dict[str, bytes] = {}
        for one, mel in list(zip(rows, made, strict=True))[2 * shard : 2 * shard + 2]:
            texts = {extension: text or b"" for extension, text in one.members(RECIPE.config).items()}
            members |= {f"{one.key}.{extension}": data for extension, data in {**texts, "mel.npy": npy(mel)}.items()}
        change(members)
        with open(folder / f"{name}.tar", "wb") as file:
            tar = TarWriter(file)
            for member, data in members.items():
                tar.add(member, data)
            tar.close()
        records.append(Record(shard, 2, tar.size, tar.sha256, RECIPE, tuple(rows[2 * shard : 2 * shard + 2])))
        (folder / f"{name}.json").write_bytes(records[-1].to_bytes())
    for name, data in derive(records).files.items():
        (folder / name).write_bytes(data)
    return records


def problems(folder: Path) -> list[str]:
    place = Disk(str(folder))
    found = [*check_folder(place), *(problem for name in NAMES for problem in check_tar(place / f"{name}.json"))]
    return [str(problem) for problem in found]
