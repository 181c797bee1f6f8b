"""hub.py's transfers by workers: on a cluster whose nodes log in themselves, or fail to, and ended by a signal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests import ROOT
from tests.hub import Hub
from tests.hub.state import Repo
from tests.pipelines.hub.conftest import NAME, User, failure, files, good, hold, refusal, sha256, shards_of, writes
from tests.ray_cluster import wait_for

WHOLE = True  # it has runtime environments


def test_a_cluster_pushes_and_pulls_what_one_machine_does(
    hub: Hub, user: User, joined: dict[str, str], made: Path, tmp_path: Path
) -> None:
    """The nodes have the token of the job's runtime environment; a cluster without one is refused first."""

    def on_cluster(command: str, *words: object, token: str = hub.token) -> subprocess.CompletedProcess[str]:
        of_nodes = {"runtime_env": {"env_vars": hub.environment(tmp_path / "home") | {"HF_TOKEN": token}}}
        ray = {name: value for name, value in joined.items() if name.startswith("RAY_AUTH")}
        ray |= {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(of_nodes)}
        return user.run(ROOT / "hub.py", command, *words, "--address", joined["RAY_ADDRESS"], **ray)

    push = (made, "--repo", NAME, "--variant", "opencv")
    assert re.search(
        r"on the node 127\.[\d.]+, there is no token: log in", refusal(on_cluster("push", *push, token=""))
    )
    assert not writes(hub)
    done = on_cluster("push", *push)
    good(done)
    assert "9 of 9 images sent (opencv)" in done.stderr
    assert shards_of(hub.repo(NAME).files(), "opencv") == shards_of(files(made), "opencv")
    done = on_cluster("pull", NAME, "--variant", "opencv", "--output", tmp_path / "pulled")
    good(done)
    assert "9 of 9 images pulled and checked (opencv)" in done.stderr
    assert shards_of(files(tmp_path / "pulled" / "sample"), "opencv") == shards_of(files(made), "opencv")


def test_a_signal_ends_a_pull_and_leaves_nothing_behind(hub: Hub, user: User, published: Repo, tmp_path: Path) -> None:
    hold(hub, published)
    tars = "|".join(sha256(data) for path, data in published.files().items() if path.endswith(".tar"))
    hub.fail("GET", tars, times=99, delay=600)
    temporary, output = tmp_path / "temporary", tmp_path / "pulled"
    temporary.mkdir()
    words = [sys.executable, str(ROOT / "hub.py"), "pull", NAME, "--variant", "all", "--output", str(output)]
    environment = os.environ | hub.environment(tmp_path / "home") | {"TMPDIR": str(temporary)}
    process = subprocess.Popen(
        [*words, "--workers", "2"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: sum(bool(re.search(tars, request.path)) for request in hub.requests) == 2, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    done = subprocess.CompletedProcess(words, process.returncode, stdout, stderr)
    assert failure(done) == "hub.py: error: stopped"
    assert len(workers) >= 2
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    assert not list(temporary.iterdir())
    assert not files(output)
