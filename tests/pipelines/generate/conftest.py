"""A Ray cluster shared by tests of runs, since starting one takes seconds.

It ends with its module: an idle one takes a second of processor time a minute, and two with a dashboard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests import ROOT
from tests.forks import Forks
from tests.ray_cluster import Cluster, cluster

FAULTS = ROOT / "tests" / "faults"


@pytest.fixture(scope="module")
def faulty(
    request: pytest.FixtureRequest,
    photographs: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    forks: Forks,
) -> Iterator[Cluster]:
    """A node with two CPUs and what Ray takes for a GPU, on which the methods in `faults` harm some images.

    It is a whole one, with a dashboard, if the module's WHOLE is true.
    """
    digests = {key: hashlib.sha256(data).hexdigest() for key, data in photographs.items()}
    variables = {
        "PYTHONPATH": str(FAULTS),
        "FAULTY": f"{digests['chelsea']},{digests['flower']}",
        "FAULTY_ONCE": digests["astronaut"],
        "FAULTY_MARKS": str(tmp_path_factory.mktemp("marks")),
    }
    whole = getattr(request.module, "WHOLE", False)
    with cluster(forks, "--num-cpus=2", "--num-gpus=1", whole=whole, **variables) as made:
        yield made
