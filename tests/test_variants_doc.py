"""docs/variants.md, model-noise.md and adding-a-library.md have every method, and their example works."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from generators.geometry import GEOMETRIES
from generators.registry import METHODS, PIXEL_STAGES, STAGES, Library, Method
from generators.variant import GROUPS, LIBRARY_GROUPS, MODEL, reference
from pipelines.datasets import DATASETS
from pipelines.generate.report import variants_table
from tests import ROOT
from tests.conftest import Command
from tests.documents import block, commands, parse, read, table
from tests.generators.foreign.at_hand import put

VARIANTS, NOISE, ADDING = "docs/variants.md", "docs/model-noise.md", "docs/adding-a-library.md"


def test_the_tables_have_every_method() -> None:
    found: dict[str, tuple[str, bool]] = {}
    for head, stage in (("decoder", "decode"), ("filter", "resize"), ("conversion", "color")):
        for tokens, _, paper in table(VARIANTS, head):
            found |= dict.fromkeys(re.findall(r"`(\w+)`", tokens), (stage, paper == "✓"))
    for stage, tokens, *_, paper in table(NOISE, "stage", "token"):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", tokens), (stage, paper == "✓"))
    expected = {token: (method.stage, method.paper) for token, method in METHODS.items() if method.stage in STAGES}
    assert found == expected


def test_the_table_of_groups_has_all_but_those_of_speech() -> None:
    named = {name for groups, does in table(VARIANTS, "group") for name in re.findall(r"`(\w[\w-]*)`", groups + does)}
    assert named == {*STAGES, "paper", MODEL, "all", *LIBRARY_GROUPS} - {"librosa"}
    assert named < set(GROUPS)
    assert not {name for name in GROUPS if f"`{name}`" not in read(VARIANTS) + read("docs/speech.md")}


def test_the_table_of_geometries_has_all_with_what_they_are_the_default_for() -> None:
    rows = {tuple(re.findall(r"`(\w+)`", names)): default for names, _, default in table(VARIANTS, "geometry")}
    assert sorted(name for names in rows for name in names) == sorted(GEOMETRIES)
    words = {"imagenet": "ImageNet", "sample": "built-in photographs", "coco": "COCO", "cityscapes": "Cityscapes"}
    for dataset, word in words.items():
        ((names, default),) = [(names, text) for names, text in rows.items() if word in text]
        assert DATASETS[dataset].geometry == (names[0] if len(names) == 1 else re.findall(r"`(\w+)`", default)[0])


def test_programs_are_asked_for_what_the_tables_say() -> None:
    assert tuple(row[0].strip("`") for row in table(VARIANTS, "stage", "stdin")) == PIXEL_STAGES
    assert tuple(row[0].strip("`") for row in table(ADDING, "stage", "function")) == PIXEL_STAGES
    (command,) = [line for line in commands(VARIANTS) if "--method" in line]
    (own,) = parse(shlex.split(command)[1:]).methods
    assert str(own).startswith("mine=decode:")


def test_the_library_of_the_example_is_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("generators.pixels.skimage")
    exec(block(ADDING, "def versions"), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    known: dict[str, Any] = {"Library": Library, "Method": Method}
    exec(block(ADDING, "Library("), known)
    nearest, linear = known["methods"]
    image = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
    assert nearest.problem() is None
    assert nearest.library.versions().keys() == {nearest.library.name}
    assert np.array_equal(nearest.load()(image, 60, 40), image)
    made = linear.load()(image, 30, 20)
    assert (made.dtype, made.shape) == (np.uint8, (20, 30, 3))
    assert not np.array_equal(made, nearest.load()(image, 30, 20))
    assert not {method.token for method in (nearest, linear)} & METHODS.keys()


def test_list_variants_shows_every_method(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a machine without a GPU
    done = command("generate.py", "--list-variants")
    assert done.returncode == 0
    listed, _, notes = done.stdout.partition("\n\n")
    rows = {line.split()[0]: line for line in listed.splitlines()}
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


def test_the_readme_counts_the_methods() -> None:
    assert f"lists all {sum(method.stage in STAGES for method in METHODS.values())}," in read("README.md")
    assert f"`{reference().decode.token}+{reference().resize.token}`" in read(VARIANTS)  # type: ignore[union-attr]
    assert (ROOT / "generators" / "pixels" / "foreign" / "needs.py").exists()
