"""A local Ray has only the processes that a run needs, and none of them outlives a killed driver."""

from __future__ import annotations

import json
import subprocess
import sys

import psutil

from tests import ROOT

DRIVER = """
import json, os, signal
import psutil, ray
from pipelines.work import local_ray

def greet():
    return os.getpid()

local_ray.init(num_cpus=1, object_store_memory=80 * 1024**2, log_to_driver=False)
worker = ray.get(ray.remote(greet).remote())
found = psutil.Process().children(recursive=True)
print(json.dumps({"worker": worker, "names": {process.pid: process.name() for process in found}}), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_local_ray_is_small_and_dies_with_its_driver() -> None:
    driver = subprocess.run([sys.executable, "-c", DRIVER], cwd=ROOT, capture_output=True, text=True)
    assert driver.stdout, driver.stderr
    found = json.loads(driver.stdout)
    names = {int(pid): name for pid, name in found["names"].items()}
    assert names.pop(found["worker"]).startswith("ray::")
    assert sorted(names.values()) == ["cat", "cat", "gcs_server", "raylet"]
    left = [process for process in psutil.process_iter() if process.pid in (*names, found["worker"])]
    _, alive = psutil.wait_procs(left, timeout=60)
    assert not alive
