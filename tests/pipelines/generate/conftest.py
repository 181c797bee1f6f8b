"""A Ray cluster shared by tests of runs, since starting one takes seconds.

It ends with its module: an idle one takes a second of processor time a minute, and two with a dashboard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests import ROOT
from tests.ray_cluster import Cluster, cluster

FAULTS = ROOT / "tests" / "faults"


@pytest.fixture(scope="module")
def faulty(
    request: pytest.FixtureRequest, photographs: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A node with two CPUs and what Ray takes for a GPU, on which the methods in `faults` harm some images.

    It has a dashboard if the module's DASHBOARD is true.
    """
    digests = {key: hashlib.sha256(data).hexdigest() for key, data in photographs.items()}
    variables = {
        "PYTHONPATH": str(FAULTS),
        "FAULTY": f"{digests['chelsea']},{digests['flower']}",
        "FAULTY_ONCE": digests["astronaut"],
        "FAULTY_MARKS": str(tmp_path_factory.mktemp("marks")),
    }
    dashboard = getattr(request.module, "DASHBOARD", False)
    with cluster("--num-cpus=2", "--num-gpus=1", dashboard=dashboard, **variables) as made:
        yield made
