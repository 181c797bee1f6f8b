"""GPU variants in runs: which need a GPU, what is reported without one and, if there is one, whole runs."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from generators.pixels import dali_gpu
from generators.variant import parse
from manifests import provenance
from manifests.schema import Recipe, Record
from pipelines import run
from pipelines.errors import RunError, UsageError
from pipelines.generate.again import Again, gpu_methods, render_again
from pipelines.generate.config import ImageConfig, base_variant, describe
from pipelines.generate.machines.kinds import _recipe, made_here
from pipelines.generate.machines.probe import Probe
from pipelines.generate.options import Options
from pipelines.generate.sources.find import Found, find
from pipelines.options import Cluster, Inputs
from pipelines.store import Disk
from pipelines.work import engine, nodes
from pipelines.work.cluster import Ray
from tests import ROOT
from tests.conftest import Command
from tests.machine import recipe_here
from tests.steps import result_of


@pytest.fixture(scope="module")
def found() -> Found:
    return find("sample", Inputs(), None)


def configured(found: Found, reference: str = "pil") -> ImageConfig:
    return ImageConfig("sample", "crop", (224,), reference, "png", 9, describe(found))


PROBE = Probe("0" * 64, {})


def recipe_of(config: ImageConfig, text: str) -> Recipe:
    variant = parse(text, config.base)
    return Recipe(variant.name, variant.spelled_out, config.as_json(), {"libraries": {}})


def test_variants_rendered_next_to_a_gpu_reference_need_the_gpu(found: Found) -> None:
    for reference, text, needs in (
        ("pil", "dali_gpu", True),
        ("pil", "dali_gpu_linear", True),
        ("pil", "pil_lanczos", False),
        ("dali_gpu", "pil_lanczos", True),
        ("dali_gpu", "pil+pil_lanczos", True),
        ("dali_gpu_linear", "reference", True),
    ):
        config = configured(found, reference)
        assert config.needs_gpu(parse(text, config.base)) == needs, (reference, text)
        assert bool(gpu_methods(recipe_of(config, text))) == needs


def test_a_reference_may_have_its_gpu_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali_gpu, "gpu_problem", lambda: "CUDA shows none")
    assert base_variant("dali_gpu", "crop", gpu=True).name == "pil_bilinear"
    for gpu in (None, False):
        with pytest.raises(UsageError, match="--reference: dali_gpu cannot run here: needs an NVIDIA GPU"):
            base_variant("dali_gpu", "crop", gpu=gpu)


@pytest.mark.parametrize(
    ("variant", "reference"), [("dali_gpu", "pil"), ("pil", "dali_gpu"), ("pil", "dali_gpu_linear")]
)
def test_a_cluster_is_asked_for_the_gpu_that_a_variant_or_the_reference_needs(
    variant: str, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dali_gpu, "gpu_problem", lambda: pytest.fail("this machine was asked"))
    cluster = Cluster(address="10.0.0.1:6379")
    options = Options(variants=(variant,), reference=reference, cluster=cluster, dry_run=True)
    monkeypatch.setattr(Ray, "engine", lambda self: SimpleNamespace(gpus=lambda: 1))
    assert run.generate(options) == 0
    monkeypatch.setattr(Ray, "engine", lambda self: SimpleNamespace(gpus=lambda: 0))
    with pytest.raises(UsageError, match="the cluster has none"):
        run.generate(options)


def test_a_gpu_that_ray_does_not_see_is_an_error(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "gpus", lambda: 0)
    config = configured(found)
    with pytest.raises(RunError, match="CUDA sees a GPU, but Ray, which asks NVML, does not"):
        engine.ask_gpu(made_here, config, [parse("dali_gpu", config.base)])


def test_only_what_needs_a_gpu_has_it_in_its_provenance(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    described = {"name": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0", "driver": "570.86.15"}
    monkeypatch.setattr(provenance, "gpu", lambda: described)
    config, beside = configured(found), configured(found, "dali_gpu")
    on_cpu = _recipe(config, parse("dali", config.base), PROBE).provenance
    assert on_cpu.keys() == {"libraries", "cpu", "probe_sha256"}
    assert "DALI/nvJPEG" not in on_cpu["libraries"]
    for made, text in ((config, "dali_gpu"), (beside, "pil_lanczos")):
        made_by = _recipe(made, parse(text, made.base), PROBE).provenance
        assert made_by["gpu"] == described
        assert made_by["libraries"]["DALI/nvJPEG"]
        assert on_cpu["libraries"].items() < made_by["libraries"].items()


def test_without_a_gpu_no_recipe_is_invented(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", none)
    monkeypatch.setattr(dali_gpu, "versions", dict)
    config = configured(found)
    with pytest.raises(provenance.ProvenanceError, match="libcuda"):
        recipe_here(config, parse("dali_gpu", config.base))


def test_a_gpu_that_is_lost_ends_a_comparison_with_a_reason(
    found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(found)
    record = Record(0, 1, 0, "0" * 64, recipe_here(config, config.base), ())
    (tmp_path / "record.json").write_bytes(record.to_bytes())

    def lost(*_: object) -> None:
        raise SystemExit("dali_gpu: the GPU fails on everything")

    monkeypatch.setattr("pipelines.generate.again._compare", lost)
    again = Again(Disk(str(tmp_path)) / "record.json", found.samples, found.source, gpu=True)
    with pytest.raises(RunError, match=r"record.json: dali_gpu: the GPU fails on everything"):
        result_of(render_again(again))


ON_GPU = ("dali_gpu", "dali_gpu_linear", "dali_gpu+dali_gpu_linear")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The sample set by methods on a GPU and on the CPU, in one run."""
    output = tmp_path_factory.mktemp("gpu")
    generate(output, "--variant", ",".join((*ON_GPU, "pil_lanczos")))
    yield output / "sample"
    shutil.rmtree(output)


def generate(output: Path, *more: str) -> None:
    words = [sys.executable, "generate.py", *more, "--samples-per-shard", "5", "--output", str(output)]
    subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


@pytest.mark.gpu
def test_a_run_on_gpus_and_cpus_is_whole_and_renders_again(made: Path, command: Command) -> None:
    for name in (*ON_GPU, "pil_lanczos"):
        assert summary(made / name)["totals"]["failed"] == 0
        assert 0 < summary(made / name)["residual"]["mean_abs"] < 20
    done = command("verify.py", made, "--render")
    assert done.returncode == 0, done.stdout


@pytest.mark.gpu
def test_the_gpu_is_in_the_provenance_of_what_it_made(made: Path) -> None:
    for name in ON_GPU:
        made_by = summary(made / name)["provenance"]
        assert made_by["gpu"] == provenance.gpu()
        assert made_by["libraries"]["DALI/nvJPEG"] == dali_gpu.versions()["DALI/nvJPEG"]
    assert "gpu" not in summary(made / "pil_lanczos")["provenance"]


@pytest.mark.gpu
def test_bytes_from_a_gpu_do_not_depend_on_what_else_is_made(made: Path, tmp_path: Path) -> None:
    generate(tmp_path, "--variant", "dali_gpu", "--workers", "1")
    for path in sorted((made / "dali_gpu").iterdir()):
        assert (tmp_path / "sample" / "dali_gpu" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.gpu
def test_a_reference_on_a_gpu(tmp_path: Path, command: Command) -> None:
    generate(tmp_path, "--variant", "reference,pil", "--reference", "dali_gpu")
    for name, differs in (("pil_bilinear", False), ("pil", True)):
        found = summary(tmp_path / "sample" / name)
        assert (found["residual"]["max_abs"] > 0) == differs
        assert found["provenance"]["gpu"] == provenance.gpu()
    assert command("verify.py", tmp_path, "--render").returncode == 0
