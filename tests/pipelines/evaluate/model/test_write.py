"""Noised models as files: their records, when they are made again, and what is refused."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from pipelines.evaluate.model.write import list_for
from pipelines.generate.options import Options
from tests import ROOT
from tests.conftest import Command
from tests.pipelines.evaluate.test_score_model import network

NOISE = "ceil_mode,upsample_nearest,fp16,int8,ceil_mode+int8"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Path:
    """A folder with a network and, in `out`, its noised models, calibrated on the built-in photographs."""
    folder = tmp_path_factory.mktemp("models")
    network(folder / "net.onnx")
    words = ["--model", "net.onnx", "--variant", NOISE, "--size", 48, "--output", "out"]
    done = generate(*words, cwd=folder)
    assert "int8 is calibrated on only 9 images" in done.stderr
    return folder


def about(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "models" / "net" / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("name", NOISE.split(","))
def test_a_noised_model_runs_anywhere_and_records_how_it_was_made(made: Path, name: str) -> None:
    path = made / "out" / "models" / "net" / f"{name}.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(3).normal(size=(2, 3, 48, 48)).astype(np.float32)
    (scores,) = session.run(None, {"image": image})
    (plain,) = onnxruntime.InferenceSession(str(made / "net.onnx"), providers=["CPUExecutionProvider"]).run(
        None, {"image": image}
    )
    assert scores.shape == plain.shape
    if "int8" not in name:  # onnx's own runtime has int8's operators only in later versions
        (others,) = ReferenceEvaluator(str(path)).run(None, {"image": image})
        np.testing.assert_allclose(np.asarray(others, np.float32), scores, atol=5e-3 * np.abs(scores).max())
    assert not np.array_equal(scores, plain)
    assert np.corrcoef(scores.ravel(), plain.ravel())[0, 1] > 0.9
    record = about(made, name)
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["model"]["sha256"] == hashlib.sha256((made / "net.onnx").read_bytes()).hexdigest()
    assert list(record["methods"].values()) == name.split("+")
    assert {change["method"] for change in record["changes"]} == set(name.split("+"))
    assert all(change["node"] and change["operator"] and change["what"] for change in record["changes"])
    assert {"ONNX", "ONNX/onnx-ir"} <= record["libraries"].keys()
    assert str(made) not in json.dumps(record)


def test_calibration_images_are_recorded_with_their_pixels(made: Path) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(made / "out" / "sample" / "pil_bilinear" / "manifest.parquet").to_pylist()
    expected = [{"key": row["key"], "pixel_sha256": row["pixel_sha256"]} for row in rows]
    assert about(made, "int8")["calibration"]["images"] == expected
    assert about(made, "fp16")["calibration"] is None


def test_verify_ignores_models_beside_shards(made: Path, command: Command) -> None:
    done = command("verify.py", made / "out")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_calibration_sample_does_not_depend_on_the_shards(made: Path, command: Command, tmp_path: Path) -> None:
    """The same images in other shards give the same sample, and the same bytes."""
    words = ["--model", made / "net.onnx", "--variant", "int8", "--size", 48, "--calibration", 4]
    for out, more in (("one", ()), ("two", ("--samples-per-shard", 2))):
        done = command("generate.py", *words, *more, "--output", tmp_path / out)
        assert done.returncode == 0, done.stderr
    one, two = (tmp_path / out / "models" / "net" / "int8.onnx" for out in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    drawn = [json.loads(path.with_suffix(".json").read_text())["calibration"]["images"] for path in (one, two)]
    assert drawn[0] == drawn[1]
    keys = [image["key"] for image in about(made, "int8")["calibration"]["images"]]
    by_hash = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())
    assert {image["key"] for image in drawn[0]} == set(by_hash[:4])


def test_only_missing_and_changed_models_are_made(made: Path, command: Command, tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    network(model)
    words = ["--model", model, "--variant", "fp16", "--output", tmp_path]
    assert command("generate.py", *words).returncode == 0
    path = tmp_path / "models" / "net" / "fp16.onnx"
    first, stamp = path.read_bytes(), path.stat().st_mtime_ns
    assert first == (made / "out" / "models" / "net" / "fp16.onnx").read_bytes()
    assert command("generate.py", *words).returncode == 0
    assert path.stat().st_mtime_ns == stamp
    path.write_bytes(first[:-1])
    assert command("generate.py", *words).returncode == 0
    assert path.read_bytes() == first
    changed = onnx.load(model)
    changed.graph.initializer[0].raw_data = changed.graph.initializer[1].raw_data[: 16 * 27 * 4]
    onnx.save(changed, model)
    assert command("generate.py", *words).returncode == 0
    assert path.read_bytes() != first


def test_noise_that_does_not_apply_is_refused_if_named_and_skipped_in_a_group(command: Command, tmp_path: Path) -> None:
    network(tmp_path / "net.onnx")
    done = command("generate.py", "--model", "net.onnx", "--variant", "pool,box_offset")
    assert done.returncode == 0, done.stderr
    assert "does not apply: floor_mode" in done.stderr
    assert "box_offset is noise after the model, which score.py adds" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out" / "models" / "net").iterdir()) == [
        "ceil_mode.json",
        "ceil_mode.onnx",
    ]
    done = command("generate.py", "--model", "net.onnx", "--variant", "floor_mode,fp16")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("generate.py: error: floor_mode does not apply to net.onnx")
    assert (tmp_path / "out" / "models" / "net" / "fp16.json").is_file()


def test_the_list_shows_which_methods_apply_and_to_how_many_nodes(command: Command, tmp_path: Path) -> None:
    network(tmp_path / "net.onnx")
    done = command("generate.py", "--list-variants", "--model", "net.onnx")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.partition("applies")[2].splitlines() if line.strip()}
    assert "1 node" in lines["ceil_mode"]
    assert " no " in lines["floor_mode"]
    assert " no " in lines["upsample_bilinear"]
    assert "1 node" in lines["upsample_nearest"]
    assert " ? " in lines["box_offset"]
    assert not (tmp_path / "out").exists()
    stated = "mean = [0, 0, 0]\nstd = [1, 1, 1]\nscale = 1\nchannels = 'rgb'\nlayout = 'nchw'\nhead = 'detr'\n"
    (tmp_path / "net.toml").write_text(stated)
    lines = {
        line.split()[0]: line
        for line in list_for(Options(model=str(tmp_path / "net.onnx"))).splitlines()
        if line.strip()
    }
    assert " yes" in lines["box_offset"]
    assert "no " in lines["box_offset_all"]
    assert "not suppressed here" in lines["box_offset_all"]


def test_a_dry_run_writes_nothing(command: Command, tmp_path: Path) -> None:
    network(tmp_path / "net.onnx")
    done = command("generate.py", "--model", "net.onnx", "--variant", "int8,floor_mode", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "int8" in done.stdout
    assert "does not apply" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variant", "ceil_mode"], "give --model FILE"),
        (["--variant", "pil_box", "--calibration", "9"], "--calibration applies only with --model"),
        (["--variant", "fp16", "--model", "m", "--checkpoint", "c"], "applies only with --model timm:NAME"),
        (["--model", "none.onnx", "--variant", "ceil_mode"], "none.onnx is not a file"),
        (["--model", "text.onnx", "--variant", "ceil_mode"], "text.onnx"),
        (["--model", "net.onnx", "--variant", "ceil_mode", "--output", "s3://bucket/out"], "give a path"),
        (
            ["--model", "net.onnx", "--variant", "int8", "--calibration", "10", "--size", "48"],
            "--calibration 10 needs more images to calibrate on than the 9",
        ),
        (["--model", "net.onnx", "--variant", "int8", "--preprocessing", "wrong.toml"], "wrong.toml"),
    ],
)
def test_errors_are_one_line(command: Command, tmp_path: Path, words: list[str], message: str) -> None:
    network(tmp_path / "net.onnx")
    (tmp_path / "text.onnx").write_text("no model at all\n" * 9)
    (tmp_path / "wrong.toml").write_text("mean = 3\n")
    done = command("generate.py", *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / "models").exists()


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    network(tmp_path / "net.onnx")
    size = (tmp_path / "net.onnx").stat().st_size // 2

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    words = [sys.executable, str(ROOT / "generate.py"), "--model", "net.onnx", "--variant", "ceil_mode"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=little_room)
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "ceil_mode.onnx" in done.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
