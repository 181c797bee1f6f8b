"""A small set of mel spectrograms, made once in this process, and helpers that read it without the project's code."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from generators.audio.settings import MelSettings
from generators.variant import DEFAULT_OF_SPEECH, parse
from pipelines.generate.config import SpeechConfig, describe
from pipelines.generate.output import Output
from pipelines.generate.shard import Job, Task, make_shard
from pipelines.generate.sources.find import find
from pipelines.generate.sources.spoken import SpokenSource
from pipelines.options import Inputs
from pipelines.store import Disk
from tests.conftest import Once
from tests.machine import recipe_here
from tests.steps import result_of

Mels = dict[str, NDArray[np.float32]]
REFERENCE = "numpy_stft"
VARIANTS = ("numpy_symmetric", "numpy_htk", "numpy_hifigan", "linear", "scipy_fourier", "linear+numpy_htk")


@pytest.fixture(scope="session")
def speech(once: Once) -> Path:
    """The built-in phrases and a broken recording, at 16,000 Hz: the reference and `VARIANTS`, in two shards each."""
    return once("speech", lambda folder: _make(folder)) / "speech"


def _make(folder: Path) -> None:
    source, phrases = folder / "source", SpokenSource()
    source.mkdir()
    samples = list(phrases.listing().samples)
    for sample, data in zip(samples, phrases.read(samples), strict=True):
        assert isinstance(data, bytes)
        (source / f"{sample.key}.wav").write_bytes(data)
    (source / "zz_broken.wav").write_bytes(b"RIFF")
    make(folder, Inputs(str(source)), VARIANTS, 16_000, per_shard=4)


def make(
    folder: Path, inputs: Inputs, tokens: Sequence[str], rate: int, per_shard: int, limit: int | None = None
) -> Path:
    """Make a set of these variants and the reference; returns its folder."""
    found = find("speech", inputs, limit)
    config = SpeechConfig("speech", MelSettings.of(rate), DEFAULT_OF_SPEECH, per_shard, describe(found))
    variants = [config.base, *(parse(token, config.base) for token in tokens)]
    recipes = {variant.name: recipe_here(config, variant) for variant in variants}
    starts = range(0, len(found.samples), per_shard)
    with Output(Disk(str(folder / "speech"))).locked() as output:
        output.begin(recipes, overwrite=False)
        job = Job(config, found.source, output, recipes)
        for number, start in enumerate(starts):
            task = Task(number, len(starts), found.samples[start : start + per_shard], tuple(variants))
            result_of(make_shard(task, job, {}))
        for recipe in recipes.values():
            output.finish(recipe, len(starts))
    return folder / "speech"


def mels_of(root: Path, variant: str) -> Mels:
    """A variant's spectrograms, read with Python's tarfile and NumPy."""
    found: Mels = {}
    for path in sorted((root / variant).glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".mel.npy"):
                    file = tar.extractfile(member)
                    assert file
                    found[member.name.partition(".")[0]] = np.load(io.BytesIO(file.read()))
    return found


def save(folder: Path, by_variant: Mapping[str, Mapping[str, NDArray[Any]]]) -> Path:
    """Write an `.npz` for each variant."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, arrays in by_variant.items():
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]  # its own options have other names
    return folder
