"""Whole runs from the command line: what is written, that its bytes depend on nothing else, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from manifests.images import COLUMNS
from pipelines.generate.output import RUN_LOG
from tests import ROOT
from tests.conftest import Command
from tests.methods import ON_CPU

OWN = "pil_lanczos,ffmpeg,dali+opencv_area+nv12_ascend,mix_decode+mix_resize"
# Each worker has another process for each of these, which takes a second to start.
OTHERS = "pil-12.3.0+pil_box-12.3.0,vips_shrink+vips_linear,sharp_lanczos3"
VARIANTS = f"{OWN},{OTHERS}"
# Work for seconds, in which a run can be disturbed: every second method of `all`, and two of other libraries.
MANY = ",".join(["reference", *list(ON_CPU)[::2], "vips_linear", "sharp_lanczos3"])


def files(output: Path) -> dict[str, bytes]:
    """Everything that was written, by path, except the log, which contains the time."""
    paths = [path for path in sorted(output.rglob("*")) if path.is_file() and path.name != RUN_LOG]
    return {str(path.relative_to(output)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Path:
    """The sample set in five shards for each variant, made by a worker that is not Ray's."""
    output = tmp_path_factory.mktemp("made")
    generate(*asked(output))
    return output


def asked(output: Path, *more: str, variant: str = VARIANTS) -> list[str]:
    return ["--variant", variant, "--samples-per-shard", "2", "--output", str(output), *more]


def run(output: Path, *more: str, variant: str = VARIANTS, environment: Mapping[str, str] = os.environ) -> None:
    """A run with its own Ray, unless the environment names another."""
    words = [sys.executable, "generate.py", *asked(output, *more, variant=variant)]
    subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, check=True)


def test_the_layout_is_the_promised_one(made: Path) -> None:
    shards = [f"validation-{index:05d}-of-00005{suffix}" for index in range(5) for suffix in (".json", ".tar")]
    expected = {"sample/README.md", "sample/croissant.json", "sample/index.html"} | {
        f"sample/{variant}/{name}"
        for variant in VARIANTS.split(",")
        for name in (*shards, "manifest.json", "manifest.parquet", "_info.json")
    }
    assert set(files(made)) == expected


def test_tars_are_plain_and_members_are_in_order(made: Path) -> None:
    with tarfile.open(made / "sample" / "ffmpeg" / "validation-00001-of-00005.tar", "r:") as tar:
        members = tar.getmembers()
        files_inside = {member.name: tar.extractfile(member) for member in members}
        texts = {name: file.read() for name, file in files_inside.items() if file and not name.endswith("png")}
    names = [member.name for member in members]
    assert names == [f"{key}.{member}" for key in ("camera", "chelsea") for member in ("png", "cls", "json")]
    assert texts["chelsea.cls"] == b"281"
    members_of_json = json.loads(texts["chelsea.json"])
    assert set(members_of_json) == set(json.loads(texts["camera.json"]))
    assert None not in members_of_json.values()
    assert (members_of_json["source_width"], members_of_json["width"]) == (451, 224)


def test_the_table_has_a_row_for_every_source_image(made: Path) -> None:
    table = pq.read_table(made / "sample" / "pil_lanczos" / "manifest.parquet")
    assert table.schema.equals(COLUMNS)
    rows = table.to_pylist()
    keys = [row["key"] for row in rows]
    assert keys == sorted(keys)
    assert [row["shard"] for row in rows] == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["residual_mean_abs"] > 0 for row in rows)


def test_timms_description_counts_what_is_in_the_tars(made: Path) -> None:
    folder = made / "sample" / "ffmpeg"
    split = json.loads((folder / "_info.json").read_text())["splits"]["validation"]
    counts = []
    for name in split["filenames"]:
        with tarfile.open(folder / name) as tar:
            counts.append(sum(member.endswith(".png") for member in tar.getnames()))
    assert split["shard_lengths"] == counts
    assert split["num_samples"] == sum(counts) == 9
    assert split["name"] == "validation"


def test_the_summary_spells_out_what_was_made(made: Path) -> None:
    summary = json.loads((made / "sample" / "ffmpeg" / "manifest.json").read_text())
    assert summary["variant"] == {"decode": "ffmpeg", "resize": "pil_bilinear", "color": "none"}
    assert summary["geometry"] == {"name": "crop", "size": 224}
    assert summary["config"]["reference"] == "pil+pil_bilinear"
    libraries = summary["provenance"]["libraries"]
    assert {"FFmpeg/libswscale", "Pillow/libjpeg-turbo", "fpng", "pyarrow"} <= libraries.keys()
    assert "DALI" not in libraries  # it is not part of this variant
    assert summary["provenance"].keys() == {"libraries", "cpu", "probe_sha256"}
    assert summary["provenance"]["cpu"] == {"architecture": platform.machine()}
    assert summary["totals"] == {"samples": 9, "failed": 0, "bytes": sum(s["bytes"] for s in summary["shards"])}
    text = json.dumps(summary)
    assert os.uname().nodename not in text
    assert str(made) not in text


@pytest.mark.parametrize(("workers", "images", "variants"), [(1, 1000, VARIANTS), (7, 1, OWN)])
def test_bytes_do_not_depend_on_the_number_of_workers_or_the_size_of_tasks(
    workers: int, images: int, variants: str, made: Path, tmp_path: Path
) -> None:
    run(tmp_path, "--workers", str(workers), "--images-per-task", str(images), variant=variants)
    for variant in variants.split(","):
        assert files(tmp_path / "sample" / variant) == files(made / "sample" / variant)


def test_a_shard_is_the_same_from_any_parts(tmp_path: Path, generate: Command) -> None:
    for images in (1000, 10, 1):
        generate("--variant", VARIANTS, "--images-per-task", images, "--output", tmp_path / str(images))
    whole = files(tmp_path / "1000")
    assert files(tmp_path / "10") == whole
    assert files(tmp_path / "1") == whole


def test_bytes_do_not_depend_on_other_variants(made: Path, tmp_path: Path, generate: Command) -> None:
    for variant in reversed(VARIANTS.split(",")):
        generate(*asked(tmp_path, variant=variant))
    assert files(tmp_path) == files(made)


def test_bytes_do_not_depend_on_whose_ray_it_is(made: Path, tmp_path: Path, joined: dict[str, str]) -> None:
    run(tmp_path, environment=joined)
    assert files(tmp_path) == files(made)


def test_the_same_command_again_does_nothing(made: Path, tmp_path: Path, command: Command) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")}
    done = command("generate.py", *asked(tmp_path))
    assert "Nothing was left to do." in done.stdout
    assert "Ray" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")} == before
    assert files(tmp_path) == files(made)


def test_only_what_is_missing_or_damaged_is_made_again(made: Path, tmp_path: Path, generate: Command) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "sample" / "ffmpeg"
    (folder / "validation-00001-of-00005.tar").unlink()
    record = folder / "validation-00003-of-00005.json"
    record.write_bytes(record.read_bytes()[:100])
    os.truncate(folder / "validation-00004-of-00005.tar", 1000)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")}
    generate(*asked(tmp_path))
    assert files(tmp_path) == files(made)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")}
    made_again = {path.name for path, when in after.items() if before.get(path) != when}
    assert made_again == {f"validation-0000{shard}-of-00005.tar" for shard in (1, 3, 4)}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in the middle of its work: some shards are whole, others are not."""
    words = [sys.executable, "generate.py", *asked(tmp_path, "--workers", "2", variant=MANY)]
    process = subprocess.Popen(words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: list(tmp_path.rglob("*.partial")), process)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the process ended too early"
        assert time.monotonic() < end, "the process did not get this far"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> dict[str, bytes]:
    """The output of a run like `running` that nothing disturbs."""
    output = tmp_path_factory.mktemp("undisturbed")
    generate(*asked(output, variant=MANY))
    return files(output)


def test_after_kill_9_of_the_run_the_same_command_continues(
    running: subprocess.Popen[str], tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    wait_for(lambda: list(tmp_path.rglob("validation-*.json")), running)
    running.kill()
    running.wait()
    # Excluding the run's own folder, which workers that are still active may remove.
    left = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.glob("sample/*/validation-*")}
    for path in (path for path in left if path.endswith(".json") and "of-00005" in path):
        assert left[path] == undisturbed[path]
        assert left[path.replace(".json", ".tar")] == undisturbed[path.replace(".json", ".tar")]
    run(tmp_path, variant=MANY)  # at once, while workers of the killed run may still be active
    assert files(tmp_path) == undisturbed


def test_a_second_run_is_refused_and_a_killed_worker_s_work_is_done_again(
    running: subprocess.Popen[str], tmp_path: Path, undisturbed: dict[str, bytes], command: Command
) -> None:
    second = command("generate.py", "--variant", "pil", "--output", tmp_path)
    assert second.returncode == 2
    assert "another run is writing to" in second.stderr
    killed = 0
    for child in psutil.Process(running.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name().startswith("ray::process"):
                child.send_signal(signal.SIGKILL)
                killed += 1
    assert killed
    _, stderr = running.communicate(timeout=120)
    assert running.returncode == 0, stderr
    assert files(tmp_path) == undisturbed


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_run_with_whole_shards_only(
    signum: int, running: subprocess.Popen[str], tmp_path: Path
) -> None:
    running.send_signal(signum)
    _, stderr = running.communicate(timeout=120)
    assert running.returncode == 3
    assert stderr.splitlines()[-1].startswith("generate.py: error: stopped: whole shards are kept")
    assert "Traceback" not in stderr
    assert not list(tmp_path.rglob("*.partial"))
    for record in tmp_path.rglob("validation-*.json"):
        assert record.with_suffix(".tar").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--size", "160"], "another configuration, config.size: 224 → 160"),
        (["--geometry", "squash"], 'config.geometry: "crop" → "squash"'),
        (["--limit", "4"], "another source, config.source.samples: 9 → 4"),
        (
            ["--size", "160", "--overwrite"],
            "nv12_ascend was made with another configuration, config.size: 224 → 160: delete that folder",
        ),
        (["--variant", "pil_box", "--image-format", "npy"], 'config.image_format: "png" → "npy"'),
        (["--reference", "opencv"], 'config.reference: "pil+pil_bilinear" → "opencv+pil_bilinear"'),
    ],
)
def test_another_configuration_in_the_same_output_is_refused(
    change: list[str], message: str, made: Path, command: Command
) -> None:
    before = files(made)
    words = ["--variant", "ffmpeg", "--samples-per-shard", 2, "--output", made, *change]
    refused = command("generate.py", *words)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert files(made) == before


def test_another_library_version_in_the_same_output_is_refused(made: Path, tmp_path: Path, command: Command) -> None:
    shutil.copytree(made, tmp_path / "out")
    for record in (tmp_path / "out").rglob("validation-*.json"):
        older = record.read_bytes().replace(b'"Pillow":"', b'"Pillow":"0.')
        record.write_bytes(re.sub(rb'"probe_sha256":"\w+"', b'"probe_sha256":"%s"' % (b"0" * 64), older))
    words = ["--variant", "pil_lanczos", "--samples-per-shard", 2, "--output", tmp_path / "out"]
    refused = command("generate.py", *words)
    assert refused.returncode == 2
    assert "another library version, provenance.libraries.Pillow" in refused.stderr


def test_overwrite_replaces_what_another_configuration_made(made: Path, tmp_path: Path, generate: Command) -> None:
    generate(*asked(tmp_path, "--size", "160", variant="ffmpeg"))
    generate(*asked(tmp_path, "--overwrite", variant="ffmpeg"))
    assert "Nothing was left to do." in generate(*asked(tmp_path, "--overwrite", variant="ffmpeg")).stdout
    found = files(tmp_path)
    expected = files(made)
    for path in found:
        if path not in ("sample/README.md", "sample/croissant.json", "sample/index.html"):
            assert found[path] == expected[path]


def test_a_relative_output_is_refused_inside_a_ray_job() -> None:
    environment = {**os.environ, "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}
    words = [sys.executable, "generate.py", "--variant", "pil", "--output", "out"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "a Ray job runs in a temporary copy of the code: give an absolute path" in done.stderr


def test_a_dry_run_writes_nothing_and_estimates_the_size(made: Path, tmp_path: Path, command: Command) -> None:
    planned = command("generate.py", "--variant", VARIANTS, "--dry-run", "--output", tmp_path / "out")
    assert planned.returncode == 0
    assert not (tmp_path / "out").exists()
    total = planned.stdout.splitlines()[-1].split()
    assert total[:3] == ["total", "63", "7"]
    actual = sum(path.stat().st_size for path in made.rglob("*.tar"))
    assert float(total[3]) * 1e6 == pytest.approx(actual, rel=0.5)


def test_identical_pixels_are_reported(tmp_path: Path, generate: Command) -> None:
    assert "degenerate" not in generate(*asked(tmp_path, variant="opencv,pil_box")).stdout
    done = generate(*asked(tmp_path, variant="pil,dali"))  # also compared with the variants of earlier runs
    same = "dali, opencv, pil_bilinear."
    assert f"Same pixels on every image (degenerate): {same}" in done.stdout
    assert f"Same pixels on every image: {same}" in (tmp_path / "sample" / "README.md").read_text()
    summary = json.loads((tmp_path / "sample" / "opencv" / "manifest.json").read_text())
    assert summary["residual"]["degenerate"] is True


@pytest.mark.parametrize(
    ("image_format", "geometry"), [("webp", "stretch"), ("npy", "identity"), ("png_stored", "identity")]
)
def test_other_formats_and_geometries(
    image_format: str, geometry: str, tmp_path: Path, generate: Command, command: Command
) -> None:
    variant = "pil,nv12_ascend" if geometry == "identity" else "pil_box,nv12_ascend"
    words = asked(tmp_path, "--image-format", image_format, "--geometry", geometry, "--limit", "3", variant=variant)
    generate(*words)
    checked = command("verify.py", tmp_path, "--render")
    assert checked.returncode == 0, checked.stdout


def test_another_size_before_the_crop(made: Path, tmp_path: Path, generate: Command, command: Command) -> None:
    """It makes another configuration, unless it is the default, which configurations do not mention."""
    generate(*asked(tmp_path, "--resize", "235", "--limit", "3", variant="pil_box"))
    assert json.loads((tmp_path / "sample/pil_box/manifest.json").read_text())["geometry"]["size"] == [224, 235]
    assert command("verify.py", tmp_path, "--render").returncode == 0
    done = command("generate.py", *asked(tmp_path, "--limit", "3", variant="pil_box"))
    assert (done.returncode, "config.size: [224, 235] → 224" in done.stderr) == (2, True), done.stderr
    assert "Nothing was left to do" in command("generate.py", *asked(made, "--crop-pct", "0.875")).stdout


def test_no_cluster_at_an_address(tmp_path: Path, command: Command) -> None:
    done = command("generate.py", "--variant", "pil", "--output", tmp_path, "--address", "127.0.0.1:1")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("generate.py: error: no Ray cluster at 127.0.0.1:1")
