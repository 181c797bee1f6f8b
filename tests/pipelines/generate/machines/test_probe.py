"""The probe: what changes it and what does not, and which machines it admits to a run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generators.geometry import GEOMETRIES
from generators.pixels import opencv
from generators.variant import Variant, parse
from pipelines.errors import UnfitError, UsageError
from pipelines.generate.config import ImageConfig, describe
from pipelines.generate.given import Rendered
from pipelines.generate.machines import Machines, kinds, refuse_unfit
from pipelines.generate.machines.kinds import Made, made_here
from pipelines.generate.machines.probe import Probe, probe
from pipelines.generate.output import RUN_LOG, Output
from pipelines.generate.shard import Job
from pipelines.generate.sources.find import find
from pipelines.options import Cluster, Inputs
from pipelines.store import Disk
from pipelines.work import engine
from pipelines.work.cluster import Ray
from pipelines.work.engine import Node
from tests import ROOT
from tests.conftest import Command

TEXTS = ("reference", "opencv+opencv_area", "nv12_ascend")


@pytest.fixture(scope="module")
def config() -> ImageConfig:
    return ImageConfig("sample", "crop", (64,), "pil", "png", 9, describe(find("sample", Inputs(), None)))


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of probes; new ones are cached here."""
    monkeypatch.setenv("SYSNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kinds, "_known", {})
    return tmp_path / "cache"


def variants_of(config: ImageConfig, *texts: str) -> list[Variant]:
    return [parse(text, config.base) for text in texts]


def test_a_probe_does_not_depend_on_other_variants(config: ImageConfig) -> None:
    together = probe(config, variants_of(config, *TEXTS))
    assert len({found.sha256 for found in together.values()}) == len(TEXTS)
    for variant in variants_of(config, *TEXTS):
        assert probe(config, [variant]) == {variant.name: together[variant.name]}


@pytest.mark.parametrize("geometry", sorted(GEOMETRIES))
@pytest.mark.parametrize("dataset", ["cityscapes", "coco"])
def test_every_probe_picture_can_be_rendered(
    dataset: str, geometry: str, config: ImageConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"keep_ratio": (48, 80), "identity": ()}.get(geometry, (64,))
    config = replace(config, dataset=dataset, geometry=geometry, size=size)
    made: list[Rendered] = []

    def seen(one: Rendered, config: ImageConfig) -> bytes:
        made.append(one)
        return b""

    monkeypatch.setattr("pipelines.generate.machines.probe.members_of", seen)
    probe(config, [config.base])
    # Pillow cannot scale 16 bits down to RGB: `pil` refuses the last picture.
    files = ["png", "seg.png"] if dataset == "cityscapes" else ["png"]
    assert [one.files and [*one.files] for one in made] == [files] * 8 + [None], [one.row.error for one in made]


def test_a_changed_pixel_changes_the_probe_and_its_methods_digest(
    config: ImageConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = variants_of(config, *TEXTS)
    before = probe(config, variants)
    resize = opencv.resize
    monkeypatch.setattr(opencv, "resize", lambda *words, **options: np.bitwise_xor(resize(*words, **options), 1))
    after = probe(config, variants)
    assert [name for name in before if before[name].sha256 != after[name].sha256] == ["opencv+opencv_area"]
    mine, theirs = (found["opencv+opencv_area"].methods for found in (before, after))
    assert [token for token in mine if mine[token] != theirs[token]] == ["opencv_area"]


def test_a_cached_probe_is_not_repeated(config: ImageConfig, no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = variants_of(config, *TEXTS)
    made = made_here(config, variants)
    assert len(list(no_cache.rglob("*.json"))) == len(TEXTS)
    monkeypatch.setattr(kinds, "_known", {})
    monkeypatch.setattr(kinds, "probe", lambda *words: pytest.fail("it was repeated"))
    assert made_here(replace(config, samples_per_shard=2), variants).methods == made.methods
    assert made_here(config, variants) == made
    monkeypatch.setattr(kinds, "probe", lambda config, variants: {one.name: Probe("0" * 64, {}) for one in variants})
    for file in no_cache.rglob("*.json"):
        file.write_text("{")
    monkeypatch.setattr(kinds, "_known", {})
    assert made_here(config, variants[:1]).recipes["pil_bilinear"].provenance["probe_sha256"] == "0" * 64


def otherwise(made: Made, token: str) -> Made:
    """The result of a machine on which this method differs."""
    recipes = {
        name: replace(recipe, provenance={**recipe.provenance, "probe_sha256": "f" * 64})
        if token in recipe.variant.values()
        else recipe
        for name, recipe in made.recipes.items()
    }
    kinds = dict.fromkeys(made.kinds, f"of {token}")
    return Made(kinds, recipes, {**made.methods, token: "f" * 64}, made.about)


class Engine:
    """Stands in for a cluster's engine: nodes, with what they make."""

    def __init__(self, *made: tuple[int, Made]) -> None:
        self.made = {Node(f"id{place}", f"10.0.0.{place}", cpus): one for place, (cpus, one) in enumerate(made)}

    def nodes(self, resource: str) -> list[Node]:
        assert resource == "CPU"
        return list(self.made)

    def ask_nodes(
        self, of: Sequence[Node], resource: str, do: Callable[..., Any], *words: Any, patience: float
    ) -> Mapping[Node, Any]:
        return {node: self.made[node] if do is made_here else self.made[node].kinds for node in of}


@pytest.fixture
def machines(config: ImageConfig, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machines]:
    def of(engine: Engine, recorded: Made | None = None) -> Machines:
        monkeypatch.setattr(Ray, "engine", lambda self: engine)
        held = recorded.recipes if recorded else {}
        ray = Ray(Cluster(address="10.0.0.1:6379"))
        return Machines(config, variants_of(config, *TEXTS), held, ray, lambda engine: None)

    return of


def test_most_cpus_decide_unless_the_output_does(
    config: ImageConfig, machines: Callable[..., Machines], capsys: pytest.CaptureFixture[str]
) -> None:
    here = made_here(config, variants_of(config, *TEXTS))
    area, ascend = (otherwise(here, token) for token in ("opencv_area", "nv12_ascend"))
    nodes = Engine((4, area), (2, here), (3, here), (1, ascend))
    for recorded, right, expected in (
        (None, here, [(0, "opencv_area", "10.0.0.2"), (3, "nv12_ascend", "10.0.0.2")]),
        (area, area, [(1, "opencv_area", "10.0.0.0"), (2, "opencv_area", "10.0.0.0"), (3, "opencv_area", "10.0.0.0")]),
    ):
        asked = machines(nodes, recorded)
        assert asked.recipes() == right.recipes
        fit = asked.sort_out()
        assert fit.kinds == set(right.kinds.values())
        lines = [f"node 10.0.0.{node} is left out: {token} gives" for node, token, _ in expected]
        found = sorted(capsys.readouterr().err.splitlines())
        assert [line.partition(" different pixels")[0] for line in found] == lines
        assert fit.without == {"CPU": {f"id{node}" for node, *_ in expected}}


def test_a_run_without_any_suitable_node_is_refused(config: ImageConfig, machines: Callable[..., Machines]) -> None:
    here = made_here(config, variants_of(config, *TEXTS))
    asked = machines(Engine((4, otherwise(here, "opencv_area"))), here)
    assert asked.recipes() == here.recipes
    with pytest.raises(
        UsageError, match=r"node 10\.0\.0\.0: opencv_area gives different pixels there than on this machine"
    ):
        asked.sort_out()


def test_a_worker_of_another_kind_proves_itself_or_refuses(
    config: ImageConfig, no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = variants_of(config, *TEXTS)
    made = made_here(config, variants)
    job = Job(config, find("sample", Inputs(), None).source, Output(Disk(str(no_cache))), made.recipes)
    refuse_unfit(replace(job, methods=made.methods), variants)
    other = otherwise(made, "opencv")
    monkeypatch.setattr(engine, "this_node", lambda: "id")
    job = replace(job, recipes=other.recipes, methods=other.methods)
    with pytest.raises(
        UnfitError, match=r"^opencv gives different pixels there than on those that the run began with$"
    ):
        refuse_unfit(job, variants)
    refuse_unfit(replace(job, kinds=frozenset(made.kinds.values())), variants)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Path:
    output = tmp_path_factory.mktemp("made")
    generate("--variant", "pil_box,nv12_full", "--size", 64, "--output", output)
    return output


def test_a_comment_keeps_shards_and_a_changed_pixel_does_not(made: Path, tmp_path: Path) -> None:
    """With a changed checkout: after a comment nothing is made, and a changed pixel is refused."""
    for name in ("generators", "manifests", "pipelines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "generate.py", tmp_path)
    before = {path: path.stat().st_mtime_ns for path in made.rglob("validation-*")}
    words = [sys.executable, "generate.py", "--variant", "pil_box,nv12_full", "--size", "64", "--output", str(made)]
    code = tmp_path / "generators" / "pixels" / "ascend.py"
    text = code.read_text()
    code.write_text(text + "# A comment.\n")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "Nothing was left to do." in done.stdout) == (0, True), done.stderr
    code.write_text(re.sub(r"\bnp\.clip\(", "1 + 0 * np.clip(", text))
    assert code.read_text() != text
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "which makes different pixels of the built-in pictures, provenance.probe_sha256" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in made.rglob("validation-*")} == before


def to_earlier(folder: Path) -> None:
    """Turn a variant's records into those of an earlier version."""
    for path in folder.glob("validation-*.json"):
        record = json.loads(path.read_bytes())
        made_by = record["recipe"]["provenance"]
        del made_by["probe_sha256"]
        made_by |= {"code_sha256": "0" * 64, "cpu": {**made_by["cpu"], "features": ["sse2"]}}
        text = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        path.write_text(text + "\n")
    (folder / "manifest.json").unlink()


def test_an_earlier_versions_variant_is_kept_but_not_continued(
    made: Path, tmp_path: Path, command: Command, generate: Command
) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    box = tmp_path / "sample" / "pil_box"
    to_earlier(box)
    held = {path: path.read_bytes() for path in box.glob("validation-*")}
    words = ["--size", 64, "--output", tmp_path, "--variant"]
    generate(*words, "pil_hamming,pil_box")
    assert {path: path.read_bytes() for path in box.glob("validation-*")} == held
    assert command("verify.py", tmp_path).returncode == 0
    next(box.glob("*.tar")).unlink()
    refused = generate(*words, "pil_box", status=2)
    assert "pil_box was begun by an earlier version" in refused.stderr
    generate(*words, "pil_box", "--overwrite")
    assert {path: path.read_bytes() for path in box.glob("validation-*")} == {
        path: (made / path.relative_to(tmp_path)).read_bytes() for path in held
    }
    logged = (tmp_path / "sample" / RUN_LOG).read_text().splitlines()
    assert [json.loads(line)["variants"] for line in logged[-2:]] == [["pil_hamming", "pil_box"], ["pil_box"]]
