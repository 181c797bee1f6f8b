"""Runs as jobs on a Ray cluster: the code that is submitted, its logs and exit status, and a job that is stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from manifests.provenance import code_sha256
from pipelines.generate.config import _CODE
from tests import ROOT
from tests.ray_cluster import RAY, Cluster, wait_for

WHOLE = True  # it has a dashboard, to which jobs are submitted


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with slightly different code."""
    copy = tmp_path_factory.mktemp("copy")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    with open(copy / "pipelines" / "generate" / "tar.py", "a", encoding="utf-8") as file:
        file.write("# slightly different\n")
    return copy


def submit(faulty: Cluster, checkout: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """`ray job submit`, as in the documentation; retried while the cluster is still starting its agent for jobs."""
    job = [RAY, "job", "submit", "--address", faulty.dashboard, "--working-dir", ".", *map(str, words)]
    for _ in range(5):
        done = subprocess.run(job, cwd=checkout, env=faulty.environment, capture_output=True, text=True, check=False)
        if "No available agent to submit job" not in done.stderr:
            break
    return done


def code_of(output: Path) -> str:
    (line,) = map(json.loads, (output / "sample" / "run.log").read_text().splitlines())
    (found,) = (machine["code_sha256"] for machine in line["machines"])
    return str(found)


def test_a_job_runs_the_code_that_was_submitted(faulty: Cluster, checkout: Path, tmp_path: Path) -> None:
    words = ["--", "python", "generate.py", "--variant", "pil_lanczos", "--samples-per-shard", 2]
    done = submit(faulty, checkout, *words, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("9 of 9 images, ") for line in lines)
    assert "Done." in lines
    assert "Traceback" not in done.stdout
    assert not any("\x1b" in line for line in lines[lines.index("Done.") :] if line.startswith("pil_lanczos"))
    assert code_of(tmp_path / "out") == code_sha256(checkout, _CODE) != code_sha256(ROOT, _CODE)
    refused = submit(faulty, checkout, *words)
    assert refused.returncode == 1
    assert "--output out is relative, but a Ray job runs in a temporary copy of the code" in refused.stdout


def test_a_jobs_exit_status_is_the_runs(faulty: Cluster, checkout: Path) -> None:
    words = ["--submission-id", "mistaken", "--", "python", "generate.py", "--variant", "pil_lancsoz"]
    refused = submit(faulty, checkout, *words)
    assert refused.returncode == 1
    assert "generate.py: error: unknown method 'pil_lancsoz'" in refused.stdout
    assert faulty.ask("/api/jobs/mistaken")["driver_exit_code"] == 2


def test_a_stopped_job_leaves_whole_shards_and_the_next_continues(
    faulty: Cluster, checkout: Path, tmp_path: Path
) -> None:
    words = ["--samples-per-shard", 1, "--limit", 4, "--output", tmp_path]
    job = ["--", "python", "generate.py", "--variant"]
    (Path(faulty.environment["FAULTY_MARKS"]) / "hangs").touch()
    # The last shard never ends on its own.
    begun = submit(faulty, checkout, "--no-wait", "--submission-id", "stopped", *job, "pil_box,ffmpeg,hangs", *words)
    assert begun.returncode == 0, begun.stdout + begun.stderr
    wait_for(lambda: len(list(tmp_path.rglob("validation-*.json"))) == 9)
    stop = [RAY, "job", "stop", "--address", faulty.dashboard, "stopped"]
    subprocess.run(stop, env=faulty.environment, capture_output=True, check=True)
    assert faulty.ask("/api/jobs/stopped")["status"] == "STOPPED"
    left = {path: path.read_bytes() for path in tmp_path.rglob("validation-*") if path.is_file()}
    assert {path.name for path in left} == {
        f"validation-0000{shard}-of-00004.{suffix}" for shard in range(3) for suffix in ("json", "tar")
    }
    done = submit(faulty, checkout, *job, "pil_box,ffmpeg", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 images" in done.stdout
    assert {path: path.read_bytes() for path in left} == left
    for variant in ("pil_box", "ffmpeg"):
        checked = [sys.executable, "verify.py", str(tmp_path / "sample" / variant)]
        assert subprocess.run(checked, cwd=ROOT, capture_output=True, check=False).returncode == 0
