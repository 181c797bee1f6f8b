"""`ray start` with only the processes that a run needs. To be run, with the arguments of `ray`.

Ray's own command also starts agents, a dashboard and a server for Ray Client on each node, and its workers import Ray
twice: together more than half of the processor time of a short run on a cluster.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ray._private import node
from ray.scripts.scripts import main

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parent.parent)  # not this folder, whose packages have the same names
    from pipelines.work.local_ray import SmallNode, replaced

    with replaced(node, "Node", SmallNode):
        main()
