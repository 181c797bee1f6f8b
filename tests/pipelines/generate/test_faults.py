"""Lost workers: what is retried, what is isolated and named, and when to give up."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import Command
from tests.ray_cluster import Cluster


def rows(output: Path, variant: str) -> dict[str, str]:
    """The error of each row by key, empty if all is well."""
    table = pq.read_table(output / "sample" / variant / "manifest.parquet").to_pylist()
    return {row["key"]: row["error"] for row in table}


def test_what_ends_a_worker_is_named_and_the_rest_survives(faulty: Cluster, tmp_path: Path, generate: Command) -> None:
    done = faulty.run("--variant", "aborts,resize_aborts,pil_lanczos", "--samples-per-shard", 4, "--output", tmp_path)
    assert done.returncode == 1, done.stderr
    assert "lost its worker and is tried again" in done.stderr
    assert "Traceback" not in done.stderr
    decoded = rows(tmp_path, "aborts")
    assert {key: error for key, error in decoded.items() if error} == {
        "chelsea": "aborts: ended the process (SIGABRT)",
        "flower": "aborts: ended the process (SIGABRT)",
    }
    resized = rows(tmp_path, "resize_aborts")
    squares = ("astronaut", "brick", "camera")
    assert {key: error for key, error in resized.items() if error} == dict.fromkeys(
        squares, "resize_aborts: ended the process (SIGABRT)"
    )
    assert len(decoded) == len(resized) == 9
    assert set(rows(tmp_path, "pil_lanczos").values()) == {""}
    # The surviving variant has the pixels of a run in which nothing died.
    generate("--variant", "pil_lanczos", "--samples-per-shard", 4, "--output", tmp_path / "alone")
    for tar in (tmp_path / "sample" / "pil_lanczos").glob("*.tar"):
        assert tar.read_bytes() == (tmp_path / "alone" / "sample" / "pil_lanczos" / tar.name).read_bytes()
    summary = json.loads((tmp_path / "sample" / "aborts" / "manifest.json").read_text())
    assert summary["totals"]["samples"] == 7


def test_what_never_returns_is_named(faulty: Cluster, tmp_path: Path) -> None:
    words = ["--variant", "hangs", "--limit", 4, "--samples-per-shard", 2, "--shard-timeout", 4]
    done = faulty.run(*words, "--output", tmp_path)
    assert done.returncode == 1, done.stderr
    assert "it took longer than 4 s, which --shard-timeout can raise" in done.stderr
    failed = {key: error for key, error in rows(tmp_path, "hangs").items() if error}
    assert failed == {"chelsea": "hangs: gave no answer within 5 s"}


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("killed", "is killed repeatedly (out of memory?): use fewer --workers"),
        ("hungry", "was tried 5 times and lost its worker each time: memory was short"),
    ],
)
def test_what_is_not_an_images_fault_ends_the_run_with_a_reason(
    variant: str, reason: str, faulty: Cluster, tmp_path: Path
) -> None:
    done = faulty.run("--variant", variant, "--samples-per-shard", 4, "--output", tmp_path)
    assert done.returncode == 3
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variant", ["hangs", "killed", "hungry"])
def test_what_happens_once_is_retried(variant: str, faulty: Cluster, tmp_path: Path) -> None:
    (Path(faulty.environment["FAULTY_MARKS"]) / variant).unlink(missing_ok=True)
    done = faulty.run("--variant", variant, "--limit", 1, "--shard-timeout", 4, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("lost its worker and is tried again") == 1


def test_gpu_methods_run_next_to_others_on_a_gpu_of_rays(faulty: Cluster, tmp_path: Path) -> None:
    words = ["--variant", "on_gpu,on_gpu+pil_box,pil_box", "--samples-per-shard", 2]
    done = faulty.run(*words, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(rows(tmp_path, "on_gpu").values()) == {""}
    pixels = {
        name: json.loads((tmp_path / "sample" / name / "manifest.json").read_text())["pixels_sha256"]
        for name in ("on_gpu+pil_box", "pil_box")
    }
    assert len(set(pixels.values())) == 1


def test_a_release_process_that_fails_costs_one_image_and_no_worker(faulty: Cluster, tmp_path: Path) -> None:
    names = [f"its_{harm}-12.3.0" for harm in ("aborts", "hangs", "lives")]
    done = faulty.run("--variant", ",".join([*names, "pil-12.3.0"]), "--samples-per-shard", 4, "--output", tmp_path)
    assert done.returncode == 1, done.stderr
    assert "lost its worker" not in done.stderr
    reasons = ("ended its process (SIGABRT)", "gave no answer within 2 s")
    for name, reason in zip(names, reasons, strict=False):
        failed = {key: error for key, error in rows(tmp_path, name).items() if error}
        assert failed == {"chelsea": f"{name}: {reason}"}
    # The process was killed once for each variant, and everything else is as if it had not been.
    assert sorted(mark.name for mark in Path(faulty.environment["FAULTY_MARKS"]).glob("its_*")) == [
        "its_aborts",
        "its_hangs",
        "its_lives",
    ]
    made = [json.loads((tmp_path / "sample" / name / "manifest.json").read_text()) for name in (names[2], "pil-12.3.0")]
    assert made[0]["pixels_sha256"] == made[1]["pixels_sha256"]
