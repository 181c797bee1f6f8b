"""What tests of runs share: a Ray cluster that they join, since each start of one takes seconds.

It ends with its module: one that waits takes a second of processor time a minute, and with a dashboard two.
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
    """One node with two CPUs and what Ray takes for a GPU, on which the methods of `faults` harm some images.

    It has a dashboard where the module's DASHBOARD is true.
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
