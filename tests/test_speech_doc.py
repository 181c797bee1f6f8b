"""docs/speech.md: its table has every method, its figures are those that are computed, and its recipes read a set."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import generate
from generators.audio import recording
from generators.audio.settings import LogMel, MelSettings
from generators.registry import AUDIO_STAGES, LIBRARIES, METHODS, Release
from generators.selection import expand
from manifests.mels import COLUMNS, TOLERANCE, MelRow
from pipelines.generate.config import base_of_speech
from tests.documents import commands, read, table

PAGE = "docs/speech.md"
TEXT = read(PAGE)
# How far each token is from the reference, at 22,050 and at 16,000 Hz.
TABLE = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \|.*\|(.*)\|(.*)\|$", TEXT, re.MULTILINE)}
RECIPES = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_table_has_every_method_in_order() -> None:
    assert list(TABLE) == [token for token, method in METHODS.items() if method.stage in AUDIO_STAGES]


def test_what_is_named_is_there() -> None:
    libraries = {METHODS[token].library for token in TABLE}
    versions = {library.version for library in libraries if isinstance(library, Release)}
    assert versions == set(re.findall(r"(?:librosa|torchvision|TensorFlow) (\d+\.\d+\.\d+)", TEXT))
    assert all(METHODS[token].library in LIBRARIES.values() for token in TABLE)
    assert f"{recording.MAX_SAMPLES:,}" in TEXT
    assert f"by more than {TOLERANCE:g};" in " ".join(TEXT.split())
    assert set(re.findall(r"`((?:residual|source)_\w+|frames|bands)`", TEXT)) <= set(COLUMNS.names)


def test_the_members_are_those_of_a_row() -> None:
    one = MelRow(
        key="k",
        shard=0,
        source_path="",
        source_sha256="",
        extra={},
        text="",
        source_rate=22_050,
        source_channels=1,
        source_samples=1,
    )
    members = {row[0].strip("`"): row[1] for row in table(PAGE, "member")}
    assert list(members) == list(one.members({}))
    assert sorted(re.findall(r"`(\w+)`", members["json"])) == sorted(one.member())


def test_what_models_are_compared_with_is_what_against_says() -> None:
    compared = [row[2] for row in table(PAGE, "`--model` takes")]
    assert [text.partition("'s mels")[0].split()[-1] for text in compared] == ["reference", "variant"]
    assert "`--against reference` or `variant`" in TEXT


def test_the_command_makes_all_that_the_table_has() -> None:
    (line,) = [line for line in commands(PAGE) if "--sample-rate" in line]
    given = generate._parser().parse_args(line.split()[2:])
    assert (given.dataset, given.sample_rate) == ("speech", 16_000)
    variants, _ = expand(given.variants, base_of_speech(""), runs=False)
    assert {method.token for variant in variants for method in variant.methods} == set(TABLE)


def test_every_recipe_reads_every_sample(spoken: Path, tmp_path: Path) -> None:
    whole = [recipe.replace(", streaming=True", "") for recipe in RECIPES if "streaming=True" in recipe]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    program = "print()\n".join([*RECIPES, *whole])
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=spoken, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(spoken / "out" / "speech" / "numpy_htk" / "manifest.parquet").to_pylist()
    expected = [f"{row['key']} (80, {row['frames']}) float32 {row['text']} 22050" for row in rows]
    assert [part.splitlines() for part in done.stdout.split("\n\n")] == [expected] * 4


@pytest.mark.parametrize(
    ("rate", "token"), [(22_050, "numpy_symmetric"), (16_000, "numpy_symmetric"), (16_000, "soxr_mq")]
)
def test_figures_are_those_of_the_recordings(rate: int, token: str, data: Path) -> None:
    settings = MelSettings.of(rate)

    def mel(one: recording.Recording, resample: str, stft: str) -> LogMel:
        samples = one.samples if one.rate == rate else METHODS[resample].load_audio()(one.samples, one.rate, rate)
        return METHODS[stft].load_audio()(samples, settings)

    tokens = ("soxr_hq", token) if METHODS[token].stage == "stft" else (token, "numpy_stft")
    files = sorted((data / "speech" / "LJSpeech-1.1" / "wavs").glob("*.wav"))
    found = []
    for one in (recording.read(file.read_bytes()) for file in files):
        difference = mel(one, *tokens).astype(float) - mel(one, "soxr_hq", "numpy_stft")
        found.append((np.square(difference).mean(), np.abs(difference).max()))
    errors, largest = zip(*found, strict=True)
    figures = f"{np.mean(errors):.1e} ({max(largest):.2g})"
    assert TABLE[token][(22_050, 16_000).index(rate)].strip() == figures
