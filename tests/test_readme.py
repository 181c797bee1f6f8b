"""The README's commands, tables and recipes are true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import generate
import hub
import score
import verify
from generators.geometry import GEOMETRIES, MAX_PIXELS, MAX_RESIZED_PIXELS
from generators.registry import METHODS, STAGES
from generators.variant import GROUPS
from manifests.mels import TOLERANCE
from manifests.schema import MOST_SHARDS
from manifests.untrusted import LARGEST_JSON, MOST_ROWS
from pipelines import store
from pipelines.generate.report import variants_table
from pipelines.work import lanes
from tests import ROOT
from tests.conftest import Command
from tests.generators.foreign.at_hand import put

# The options of timm's script, of huggingface_hub's and of Ray's are not ours to check.
THEIRS = re.compile(r"^```sh\n(python validate\.py|hf download|ray) .*?^```\n", re.DOTALL | re.MULTILINE)
TEXT = (ROOT / "README.md").read_text()
README = THEIRS.sub("", TEXT)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_table_holds_every_method() -> None:
    found: dict[str, tuple[str, bool]] = {}
    row = rf"^\| ({'|'.join(STAGES)}) \| (.*?) \|.*\| (✓?) ?\|$"
    for stage, tokens, paper in re.findall(row, README, re.MULTILINE):
        found |= {token: (stage, bool(paper)) for token in re.findall(r"`(\w+)`", tokens)}
    expected = {token: (method.stage, method.paper) for token, method in METHODS.items() if method.stage in STAGES}
    assert found == expected


def test_every_name_in_the_text_exists() -> None:
    (commands,) = (action.choices for action in hub._parser()._actions if isinstance(action.choices, dict))
    parsers = [
        generate._parser(),
        verify._parser(),
        score._parser(),
        score._parser("match"),
        score._parser("layers"),
        score._parser("text"),
        score._parser("compare"),
        *commands.values(),
    ]
    options = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert not used - options
    assert all(f"`{name}`" in README for name in (*GEOMETRIES, *GROUPS))
    assert f"{MAX_PIXELS:,}" in README
    assert f"{MAX_RESIZED_PIXELS:,}" in README
    assert f"`verify.py --render` accepts up to {TOLERANCE:g}" in README


def test_the_commands_parse() -> None:
    entries = [line.split() for block in blocks("sh") for line in block.splitlines() if ".py" in line]
    made = ["generate.py", "verify.py", "score.py", *["generate.py"] * 3, "score.py"]
    scored = [*["score.py"] * 3, "generate.py", *["score.py"] * 5]
    assert [script for _, script, *_ in entries] == [*made, *scored, *["hub.py"] * 4]
    for python, script, *words in entries:
        assert python == ".venv/bin/python"
        if script == "generate.py":
            given = generate._parser().parse_args(words)
            assert (given.source or given.model).startswith("/data/")
        elif words[0] == "match":
            given = score._parser("match").parse_args(words[1:])
            assert given.dump or given.outputs
        elif words[0] == "layers":
            assert score._parser("layers").parse_args(words[1:]).variants == ("int8",)
        elif words[0] == "text":
            assert score._parser("text").parse_args(words[1:]).variants == ("precision",)
        elif words[0] == "compare":
            assert len(score._parser("compare").parse_args(words[1:]).reports) == 2
        elif script == "hub.py":
            assert "ORG/noised-" in str(hub._parser().parse_args(words))
        elif script == "score.py":
            assert score._parser().parse_args(words).shards.startswith("/data/")
    assert re.findall(r"^make (\w+)", blocks("sh")[0], re.MULTILINE) == ["sample", "test"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"sample", "test"} <= set(targets)


def test_the_job_is_a_command_of_ours() -> None:
    (job,) = re.findall(r"^ray job submit --working-dir \. -- python generate\.py (.*)$", TEXT, re.MULTILINE)
    given = generate._parser().parse_args(job.split())
    assert given.source.startswith("s3://")
    assert given.output.startswith("s3://")
    assert "asked again for five\nminutes" in TEXT
    assert store.PATIENCE == 5 * 60
    assert "at most five times" in TEXT
    assert lanes._ATTEMPTS == 5


def test_the_bounds_are_those_of_the_readers() -> None:
    assert f"manifest of {LARGEST_JSON // 2**20} MiB, {MOST_SHARDS:,} shards of {MOST_ROWS:,} samples" in TEXT


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `make sample` has written its output."""
    folder = tmp_path_factory.mktemp("readme")
    words = [sys.executable, str(ROOT / "generate.py"), "--variant", "pil_lanczos"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    assert f"verify.py {folder}/out/sample" in done.stdout
    return folder


@pytest.mark.parametrize("recipe", blocks("python")[:2], ids=["webdataset", "datasets"])
def test_the_recipes_read_every_image(recipe: str, sample: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    words = [sys.executable, "-c", recipe]
    done = subprocess.run(words, cwd=sample, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 9
    assert all("224" in line for line in lines)
    assert " 281 451" in lines[3]  # the cat


def test_list_variants_shows_every_method(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a machine without a GPU
    done = command("generate.py", "--list-variants")
    assert done.returncode == 0
    table, _, notes = done.stdout.partition("\n\n")
    rows = {line.split()[0]: line for line in table.splitlines()}
    for token, method in METHODS.items():
        assert method.stage in rows[token]
        assert method.library.name in rows[token]
    assert "dali_gpu, dali_gpu_fancy: needs an NVIDIA GPU" in notes


def test_list_variants_shows_the_versions_that_are_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYSNOISE_CACHE", str(tmp_path))
    put(tmp_path, "pillow-12.3.0", "pillow-6.2.1", "opencv-python-headless-4.5.5.64")
    (tmp_path / "environments" / "av-10.0.0" / "bin").mkdir(parents=True)  # not whole
    rows = [line.split(maxsplit=3) for line in variants_table(METHODS).partition("Versions, each")[2].splitlines()]
    assert ["Pillow", "pillow", "pil-VERSION", "6.2.1, 12.3.0"] in rows
    assert ["OpenCV", "opencv-python-headless", "opencv-VERSION", "4.5.5.64"] in rows
    assert ["FFmpeg", "av", "ffmpeg-VERSION", "–"] in rows
    assert not any(row[:1] == ["NumPy"] for row in rows)
