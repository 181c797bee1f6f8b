"""From a model and a source to the paper's row in one command, against ONNX Runtime run by hand."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import psutil
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests import ROOT
from tests.conftest import Command
from tests.forks import Forks
from tests.here import HERE

COUNT, SIZE = 36, 48
TOML = 'mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\nscale = "1/255"\nchannels = "rgb"\nlayout = "nchw"\n'
# One method of each stage that is, or may be, the worst
ASKED = "opencv,ffmpeg,dali_fast,pil_nearest,opencv_area,nv12_ascend,ceil_mode,upsample_nearest,fp16,int8,int8_tensor"


def network(path: Path, width: int = 16) -> Path:
    """A classifier of a thousand classes with max-pooling, upsampling, two convolutions and random weights."""
    draw = np.random.default_rng(7)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((draw.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node(
            "Resize",
            ["c2", "", "scales"],
            ["u"],
            mode="linear",
            coordinate_transformation_mode="pytorch_half_pixel",
        ),
        helper.make_node("Mul", ["u", "u"], ["square"]),
        helper.make_node("GlobalAveragePool", ["square"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["out"], transB=1),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    parameters = [weights("w1", width, 3, 3, 3), weights("w2", 24, width, 3, 3), weights("w3", 1000, 24), scales]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 1000])],
        parameters,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    path.with_suffix(".toml").write_text(TOML)
    return path


def stored(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The images of a variant as the network takes them, by key."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                if file is not None and member.name.endswith(".png"):
                    pixels = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"), np.float64)
                    found[member.name[:-4]] = ((pixels / 255 - 0.5) / 0.25).transpose(2, 0, 1).astype(np.float32)
    return found


def classes(model: Path, images: Mapping[str, NDArray[np.float32]], optimised: bool = True) -> dict[str, int]:
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return {key: int(session.run(None, {"image": image[None]})[0].argmax()) for key, image in images.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, bytes], generate: Command) -> Path:
    """A source labelled with the network's own predictions, so that it is right on all images without noise."""
    folder = tmp_path_factory.mktemp("world")
    source = folder / "source"
    source.mkdir()
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in photographs.values()]
    for index in range(COUNT):
        picture = pictures[index % len(pictures)]
        left, top = 17 * (index % 7), 13 * (index % 5)
        picture.crop((left, top, left + 210, top + 190)).save(source / f"p{index:03d}.JPEG", quality=85)
    model = network(folder / "net.onnx")
    labels = folder / "labels.txt"
    labels.write_text(
        "".join(f"p{index:03d}.JPEG 0\n" for index in range(COUNT))
    )  # placeholders, until the network has classified them
    words = ["--variant", "reference", "--dataset", "imagenet", "--source", source, "--labels", labels]
    generate(*words, "--size", SIZE, "--output", folder / "first")
    own = classes(model, stored(folder / "first" / "imagenet" / "pil_bilinear"))
    labels.write_text("".join(f"{key}.JPEG {label}\n" for key, label in own.items()))
    return folder


def words_for(world: Path, folder: Path, variants: str = ASKED) -> list[str]:
    """The command, with all its output in `folder`."""
    words = ["--model", world / "net.onnx", "--dataset", "imagenet", "--source", world / "source"]
    words += ["--labels", world / "labels.txt", "--shards", folder / "imagenet", "--variant", variants]
    return [str(word) for word in [*words, "--output", folder / "report", "--size", SIZE, "--calibration", "20"]]


@pytest.fixture(scope="module")
def whole(world: Path, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one run, by a worker that is not Ray's."""
    folder = tmp_path_factory.mktemp("whole")
    done = forks.run([str(ROOT / "score.py"), *words_for(world, folder)], folder, {**os.environ, "RAY_ADDRESS": HERE})
    assert done.returncode == 0, done.stderr
    return folder


def start(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "score.py"), *words]
    return subprocess.Popen(command, env={**environment}, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report" / "results.json").read_text())
    return found


def test_every_variant_has_the_score_that_onnx_runtime_gives_its_model_on_its_pixels(world: Path, whole: Path) -> None:
    found = results(whole)
    truth = {
        line.split()[0].removesuffix(".JPEG"): int(line.split()[1])
        for line in (world / "labels.txt").read_text().splitlines()
    }
    assert found["variants"]["pil_bilinear"]["top1"] == 100
    assert set(ASKED.split(",")) < set(found["variants"])
    for name, line in found["variants"].items():
        stages = line["stages"]
        pixels = [stages[s] for s in ("decode", "resize", "color")]
        own = [token for token in pixels if token not in ("pil", "pil_bilinear", "none")]
        noise = [stages[s] for s in ("pool", "upsample", "precision") if stages[s] != "none"]
        model = whole / "report" / "models" / "net" / f"{'+'.join(noise)}.onnx" if noise else world / "net.onnx"
        images = stored(whole / "imagenet" / ("+".join(own) or "pil_bilinear"))
        # int8 kernels must not decide a score.
        said = classes(model, images, optimised=not stages["precision"].startswith("int8"))
        right = sum(said[key] == label for key, label in truth.items())
        assert line["top1"] == pytest.approx(100 * right / COUNT), name
        kept = pq.read_table(whole / "report" / "predictions" / f"{name}.parquet").to_pylist()
        assert {row["key"]: row["top5"][0] for row in kept} == said, name


def test_the_row_ends_in_the_combined_cost(whole: Path) -> None:
    found = results(whole)
    paper = found["paper_steps"]
    order = ["decode", "resize", "color", "precision", "pool", "upsample"]
    assert [step["stage"] for step in paper] == [stage for stage in order if stage in {s["stage"] for s in paper}]
    assert {"precision", "pool", "upsample", "color"} <= {step["stage"] for step in paper}
    assert {step["stage"]: step["method"] for step in paper}["precision"] == "int8"
    combined = found["combined"]
    assert combined["variant"] == paper[-1]["variant"]
    assert combined["delta"] == found["variants"][combined["variant"]]["delta"] == paper[-1]["delta"]
    assert len(combined["variant"].split("+")) == len(paper)
    for name, stage in found["stages"].items():
        alone = [
            (line["delta"], variant)
            for variant, line in found["variants"].items()
            if variant != "pil_bilinear" and "+" not in variant and line["stages"][name] == variant
        ]
        assert stage["max"] == max(alone)[0]
        assert stage["mean"] == pytest.approx(np.mean([delta for delta, _ in alone]))
    greedy = found["steps"]
    assert not found["missing"]["variants"]
    assert sorted(step["stage"] for step in greedy) == sorted(step["stage"] for step in paper)


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files of a run, except locks and logs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "run.log")
    }


def test_the_same_command_again_makes_nothing(world: Path, whole: Path, command: Command) -> None:
    made = [path for path in whole.rglob("*.*") if path.suffix in (".tar", ".onnx", ".parquet")]
    made.remove(whole / "report" / "outcomes.parquet")  # a part of the report
    before = {path: path.stat().st_mtime_ns for path in made}
    content = snapshot(whole)
    done = command("score.py", *words_for(world, whole))
    assert done.returncode == 0, done.stderr
    assert "images predicted" not in done.stderr
    assert "starting Ray" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in made} == before
    assert snapshot(whole) == content


def test_killed_anywhere_the_same_command_gives_the_same_report(
    world: Path, whole: Path, joined: dict[str, str], tmp_path: Path
) -> None:
    draw = random.Random(3)
    words = words_for(world, tmp_path)
    for _ in range(3):
        with start(words, joined) as run:
            wait_for_files(tmp_path, draw.randint(1, 60), run)
            run.send_signal(draw.choice((signal.SIGKILL, signal.SIGTERM)))
            run.communicate()
    with start(words, joined) as run:
        _, said = run.communicate()
    assert run.returncode == 0, said
    theirs, mine = snapshot(whole), snapshot(tmp_path)
    assert mine.keys() == theirs.keys()
    # Only the folder's name differs.
    there, here = str(whole).encode(), str(tmp_path).encode()
    assert {name: data.replace(here, there) for name, data in mine.items()} == theirs


def workers_of(cluster: Mapping[str, str]) -> list[psutil.Process]:
    """The processes that work on a piece for a cluster."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (
                process.name().startswith("ray::process")
                and process.environ().get("RAY_AUTH_TOKEN") == cluster["RAY_AUTH_TOKEN"]
            ):
                found.append(process)
    return found


def test_a_killed_worker_and_the_number_of_workers_make_no_difference(
    world: Path, joined: dict[str, str], tmp_path: Path
) -> None:
    """A killed worker costs only the piece that it worked on."""
    shutil.copy(world / "net.toml", tmp_path / "slow.toml")
    network(tmp_path / "slow.onnx", 600)

    def words(name: str, *more: str) -> list[str]:
        given = words_for(world, tmp_path, "opencv_area,pil_nearest,fp16")
        given[given.index("--model") + 1] = str(tmp_path / "slow.onnx")
        given[given.index("--output") + 1] = str(tmp_path / name)
        return [*given, *more]

    with start(words("killed"), joined) as run:
        wait_for_files(tmp_path / "killed" / "predictions", 1, run)  # the shards exist
        while run.poll() is None and not (found := workers_of(joined)):
            time.sleep(0.01)
        found[0].kill()
        _, said = run.communicate()
    assert run.returncode == 0, said
    assert re.search(r"images \d+ to \d+ of shard 0 lost its worker and is tried again", said)
    alone = {name: value for name, value in joined.items() if name != "RAY_ADDRESS"}
    with start(words("alone", "--workers", "1"), alone) as run:
        _, said = run.communicate()
    assert run.returncode == 0, said
    assert "Ray" not in said
    theirs, mine = snapshot(tmp_path / "killed"), snapshot(tmp_path / "alone")
    assert theirs == mine


def wait_for_files(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until there are this many files, or the process has ended."""
    while process.poll() is None and sum(len(files) for _, _, files in os.walk(folder)) < count:
        time.sleep(0.02)


@pytest.mark.parametrize("words", [["--limit", "5"], ["--size", "48"], ["--dataset", "imagenet"]])
def test_options_for_making_shards_are_not_ignored_silently(
    world: Path, whole: Path, command: Command, words: list[str]
) -> None:
    done = command("score.py", "--shards", whole / "imagenet", "--model", world / "net.onnx", *words)
    assert done.returncode == 2
    assert f"{words[0]} applies only with --source" in done.stderr


def test_a_dry_run_prints_the_plan_and_makes_nothing(world: Path, command: Command, tmp_path: Path) -> None:
    done = command("score.py", *words_for(world, tmp_path / "new", "paper,nv12_ascend+fp16"), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "new").exists()
    assert f"{COUNT} images" in done.stdout
    assert "does not apply: box_offset: it has no boxes" in done.stdout
    pixels = ["pil_bilinear", "opencv", "ffmpeg", "dali", "nv12_ascend"]
    assert all(name in done.stdout for name in (*pixels, "fp16", "int8", "ceil_mode"))


def test_predictions_of_noised_models_made_elsewhere_are_scored(
    world: Path, whole: Path, command: Command, tmp_path: Path
) -> None:
    """The model's own kept predictions give the same figures; missing ones are named with both commands."""
    folder = tmp_path / "predictions"
    folder.mkdir()
    for name in ("pil_bilinear", "pil_nearest", "ceil_mode", "int8"):
        data = (whole / "report" / "predictions" / f"{name}.parquet").read_bytes()
        (folder / f"{'int8' if name == 'int8' else name}.parquet").write_bytes(data)
    done = command("score.py", "--shards", whole / "imagenet", "--predictions", folder)
    assert done.returncode == 0, done.stderr
    found, theirs = results(tmp_path), results(whole)
    for name in ("ceil_mode", "int8", "pil_nearest"):
        for figure in ("top1", "delta", "p", "lost", "gained"):
            assert found["variants"][name][figure] == theirs["variants"][name][figure]
    assert "pil_nearest+int8" in found["missing"]["variants"]
    assert found["combined"] is None
    models = [text for text in found["missing"]["commands"] if "--model" in text]
    assert models
    assert "ceil_mode+int8" in models[0]


def test_new_shards_follow_existing_ones(world: Path, generate: Command, command: Command, tmp_path: Path) -> None:
    """Existing shards have a geometry that is not the default, and no reference; the model states only a size."""
    source = ["--dataset", "imagenet", "--source", world / "source", "--labels", world / "labels.txt"]
    generate("--variant", "opencv", *source, "--geometry", "squash", "--size", SIZE, "--output", tmp_path)
    model = tmp_path / "net.onnx"
    model.write_bytes((world / "net.onnx").read_bytes())
    model.with_suffix(".toml").write_text(f"{TOML}size = {SIZE}\n")
    words = ["--model", model, *source, "--shards", tmp_path / "imagenet"]
    # A group has decoders that take seconds to start: what would be made of it is said.
    planned = command("score.py", *words, "--variant", "opencv,nv12_ascend,decode", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "left out: dali_gpu" in planned.stderr
    assert all(name in planned.stdout for name in ("pil_bilinear", "opencv", "nv12_ascend", "ffmpeg", "tf_accurate"))
    words += ["--variant", "opencv,nv12_ascend,ffmpeg"]
    done = command("score.py", *words, "--output", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert found["geometry"]["name"] == "squash"
    assert {"pil_bilinear", "opencv", "nv12_ascend", "ffmpeg"} <= found["variants"].keys()
    done = command("score.py", *words, "--output", tmp_path / "report", "--size", 50)
    assert done.returncode == 2
    assert (
        "has shards made with --geometry squash --size 48, and the command line asks for another geometry"
        in done.stderr.splitlines()[-1]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "few.onnx"], "the model has 10 classes less a class_offset of 0, but ImageNet has 1,000"),
        (["--size", "50"], "the model takes 48x48 pixels and the shards have 50x50 (as they would be made)"),
        (["--head", "yolox"], 'head = "yolox" is for COCO shards'),
        (["--model", "text.onnx"], "is not an ONNX model"),
    ],
)
def test_unsuitable_models_are_refused_before_shards_are_made(
    world: Path, command: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    model = onnx.load(world / "net.onnx")
    for axis, length in ((2, 48), (3, 48)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = length
    onnx.save(model, tmp_path / "fixed.onnx")
    few = onnx.load(world / "net.onnx")
    (weights,) = (own for own in few.graph.initializer if own.name == "w3")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[:10], "w3"))
    few.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 10
    onnx.save(few, tmp_path / "few.onnx")
    for name in ("fixed", "text", "few"):
        (tmp_path / f"{name}.toml").write_text(TOML)
    (tmp_path / "text.onnx").write_text("no model at all\n" * 9)
    given = words_for(world, tmp_path / "new", "opencv")
    for flag, value in zip(["--model", *words[::2]], ["fixed.onnx", *words[1::2]], strict=True):
        if flag in given:
            place = given.index(flag)
            del given[place : place + 2]
        given += [flag, value]
    done = command("score.py", *given)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--calibration", "37", "--variant", "int8"],
            "--calibration 37 needs more images to calibrate on than the 36",
        ),
        (["--variant", "ceil_mod"], "did you mean ceil_mode"),
        (["--variant", "pil_nearest+ceil_mode+floor_mode"], "names two pool methods"),
        (["--size", "50", "--variant", "fp16"], "has shards made with --geometry crop --size 48, and the command line"),
        (
            ["--output", "s3://bucket/report", "--variant", "fp16"],
            "--output s3://bucket/report is a URI, but this",
        ),
        (["--limit", "5", "--variant", "fp16"], "has shards of 36 images, and --source has others (5;"),
    ],
)
def test_mistakes_get_one_line(
    world: Path, whole: Path, command: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    given = words_for(world, whole)
    given[given.index("--output") + 1] = str(tmp_path / "report")
    for flag in ("--variant", *words[::2]):
        if flag in given:
            place = given.index(flag)
            del given[place : place + 2]
    done = command("score.py", *given, *words)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "report" / "results.json").exists()
