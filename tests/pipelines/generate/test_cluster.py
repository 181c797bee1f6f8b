"""Runs on a cluster of several nodes: a lost machine, a new one, and disks that are not shared."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import ROOT
from tests.conftest import Command
from tests.forks import Forks
from tests.pipelines.generate.test_generate import files
from tests.ray_cluster import Cluster, cluster, wait_for

VARIANTS = "pil_lanczos,ffmpeg,dali+opencv_area+nv12_ascend"
# Enough work for a worker to be lost during it.
LONG = ["--variant", "pil_box,pil_bicubic,pil_lanczos,opencv_area", "--geometry", "keep_ratio", "--size", "800,1333"]
LONG += ["--samples-per-shard", "1"]


@pytest.fixture(scope="module")
def nodes(forks: Forks) -> Iterator[Cluster]:
    """A head and two more nodes, with one CPU each."""
    with cluster(forks, "--num-cpus=1") as made:
        for _ in range(2):
            made.add("--num-cpus=1")
        yield made


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> dict[str, bytes]:
    """The output of a local run."""
    output = tmp_path_factory.mktemp("expected")
    generate(*LONG, "--output", output)
    return files(output)


def makes_shards(node: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(
            child.name().startswith("ray::process") for child in psutil.Process(node.pid).children(recursive=True)
        )
    return False


def test_a_lost_machine_and_a_new_one_change_no_byte(
    nodes: Cluster, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    run = nodes.begin(*LONG, "--output", tmp_path)
    lost = nodes.processes[-1]
    wait_for(lambda: makes_shards(lost), run)
    nodes.kill(lost)
    nodes.add("--num-cpus=1")
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    assert "lost its worker and is tried again" in errors
    assert files(tmp_path) == expected


def test_a_disk_that_one_node_does_not_share_is_refused(nodes: Cluster, tmp_path: Path) -> None:
    """One node has another disk in place of the output, the source, and a program."""
    output, source, programs = tmp_path / "output", tmp_path / "source", tmp_path / "programs"
    output.mkdir()
    programs.mkdir()
    shutil.copy("/bin/cat", programs)
    (source / "n01440764").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "faults" / "faulty.py", source / "n01440764" / "a.JPEG")
    mounts = " && ".join(f"mount -t tmpfs none {place}" for place in (output, source, programs))
    script = f'{mounts} && exec "$@"'
    elsewhere = nodes.add("--num-cpus=1", prefix=("unshare", "--mount", "sh", "-c", script, "sh"))
    try:
        refused = nodes.run("--variant", "pil", "--output", output)
        assert refused.returncode == 2
        last = refused.stderr.splitlines()[-1]
        assert last.endswith(
            f"--output {output} is not the same folder there: give paths that all nodes share, or URIs"
        )
        words = ["--variant", "pil", "--dataset", "imagenet", "--source", source, "--output", tmp_path / "shared"]
        refused = nodes.run(*words)
        assert refused.returncode == 2
        assert "the source cannot be read there" in refused.stderr.splitlines()[-1]
        words = ["--method", f"mine=color:{programs}/cat", "--variant", "mine", "--output", tmp_path / "shared"]
        refused = nodes.run(*words)
        assert refused.returncode == 2
        assert f"mine cannot be run ({programs}/cat: No such file" in refused.stderr.splitlines()[-1]
        assert "Traceback" not in refused.stderr
        assert not list(tmp_path.rglob("*.tar"))
    finally:
        nodes.kill(elsewhere)


OTHER_OPENCV = """
import cv2
import numpy as np

resize = cv2.resize


def other(image, size, *words, interpolation, **options):
    made = resize(image, size, *words, interpolation=interpolation, **options)
    return np.bitwise_xor(made, 1) if interpolation == cv2.INTER_CUBIC else made


cv2.resize = other
"""


def test_machines_that_make_the_same_share_a_run(nodes: Cluster, tmp_path: Path, command: Command) -> None:
    """One node's libjpeg-turbo has no SIMD, which changes no pixel; another node's OpenCV differs."""
    (tmp_path / "sitecustomize.py").write_text(OTHER_OPENCV)
    added = [
        nodes.add("--num-cpus=1", prefix=("env", what)) for what in ("JSIMD_FORCENONE=1", f"PYTHONPATH={tmp_path}")
    ]
    try:
        variants = "opencv_bicubic+nv12_opencv,pil_box"
        done = nodes.run("--variant", variants, "--samples-per-shard", 1, "--output", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        (left_out,) = [line for line in done.stderr.splitlines() if "left out" in line]
        assert re.match(
            r"node 127[\d.]+ is left out: opencv_bicubic gives different pixels there than on node 127", left_out
        )
        (line,) = map(json.loads, (tmp_path / "out" / "sample" / "run.log").read_text().splitlines())
        assert sorted(machine["nodes"] for machine in line["machines"]) == [1, 1, len(nodes.processes) - 2]
        assert sum("left_out" in machine for machine in line["machines"]) == 1
        checked = command("verify.py", "--render", tmp_path / "out")
        assert checked.returncode == 0, checked.stdout
    finally:
        for node in added:
            nodes.kill(node)


def test_a_node_that_finds_itself_unfit_gets_no_more(nodes: Cluster) -> None:
    """With pieces in a separate script: each reports its node, and one node refuses."""
    done = subprocess.run(
        [sys.executable, "-c", UNFIT, nodes.address],
        cwd=ROOT,
        env=nodes.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("is left out: it is unfit") == 1
    report = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))  # Ray may print more
    assert sorted(report["pieces"]) == list(range(40))
    assert report["where"]
    assert set(report["where"]) <= set(report["others"])  # Ray may not know yet that some of these are lost
    assert report["ended"] == "they all are"


UNFIT = """
import json, sys
from pipelines.work import engine
from pipelines.errors import UnfitError
from pipelines.work import Finished, InTurn, Work


def work(piece, unfit, careful):
    if not unfit:
        raise UnfitError("they all are", engine.this_node())
    if engine.this_node() == unfit:
        raise UnfitError("it is unfit", unfit)
    yield 1
    return engine.this_node()


engine.start(sys.argv[1], None)
first, second, *others = [node.id for node in engine.nodes("CPU")]
run = lambda unfit: engine.run(
    Work(work, unfit, str, without={"CPU": frozenset([second])}), InTurn(range(40)), InTurn(), None, 5.0
)
done = [found for found in run(first) if isinstance(found, Finished)]
try:
    list(run(""))
except UnfitError as error:
    ended = str(error)
where = sorted({found.result for found in done})
pieces = [found.piece for found in done]
print(json.dumps({"others": others, "where": where, "pieces": pieces, "ended": ended}))
"""


def test_a_node_that_cannot_install_a_version_is_named(nodes: Cluster, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lacking = nodes.add("--num-cpus=1", prefix=("env", f"SYSNOISE_CACHE={tmp_path / 'file'}"))
    try:
        refused = nodes.run("--variant", "pil_box-12.3.0", "--output", tmp_path / "out")
        assert refused.returncode == 2, refused.stderr
        last = refused.stderr.splitlines()[-1]
        assert re.match(r"generate.py: error: on the node 127\.[\d.]+, .*environments cannot be written \(", last)
        assert not list(tmp_path.rglob("*.tar"))
    finally:
        nodes.kill(lacking)
