"""A local Ray with only the processes that a run needs: the GCS, the raylet and the workers.

`ray.init` starts five more, each of which imports half of Ray: a dashboard without pages, an autoscaler's monitor, a
log monitor, and two agents, for metrics and for runtime environments, that the raylet waits for. Together they take
longer than everything else before the first image, and again at the end. A run uses none of them, but Ray has no option
to leave them out. So Ray's own classes are patched here; what is patched is private to Ray, whose version is pinned.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
from ray._private import node, services, utils, worker
from ray._raylet import (  # type: ignore[attr-defined]  # compiled, without hints
    DASHBOARD_AGENT_LISTEN_PORT_NAME,
    METRICS_AGENT_PORT_NAME,
    METRICS_EXPORT_PORT_NAME,
    RUNTIME_ENV_AGENT_PORT_NAME,
    persist_port,
)

_PORTS = (
    DASHBOARD_AGENT_LISTEN_PORT_NAME,
    METRICS_AGENT_PORT_NAME,
    METRICS_EXPORT_PORT_NAME,
    RUNTIME_ENV_AGENT_PORT_NAME,
)
# What an agent that does not listen writes as its port.
_NO_PORT = -1
# The raylet dies with its agents, so it gets these instead, which live as long as it does: when it ends, their stdin is
# closed. The shell ignores the agent's arguments that follow.
_IDLE = ("sh", "-c", "exec cat")
_WORKER = Path(__file__).with_name("local_worker.py")


class SmallNode(node.Node):
    """Ray's node, with fewer processes to start."""

    def __init__(self, ray_params: Any, **words: Any) -> None:
        ray_params.update(no_monitor=True, include_log_monitor=False, ray_client_server_port=None)
        ray_params.update(setup_worker_path=str(_WORKER))
        super().__init__(ray_params, **words)

    @cached_property
    def resources(self) -> dict[str, float]:
        """Its resources, which stay the same. They are cached, since Ray waits a minute for a GCS that has ended."""
        return dict(ray.cluster_resources())

    def start_api_server(self, **_: Any) -> None:
        """Start no dashboard."""

    def start_raylet(self, *words: Any, **more: Any) -> None:
        for name in _PORTS:
            persist_port(self._session_dir, self._node_id, name, _NO_PORT)
        with (
            replaced(services, "_build_python_executable_command_memory_profileable", lambda *_, **__: list(_IDLE)),
            replaced(utils, "get_dashboard_dependency_error", lambda: None),  # it imports all dependencies to check
        ):
            super().start_raylet(*words, **more)


def init(**words: Any) -> None:
    """Like `ray.init`, for a local Ray."""
    with replaced(node, "Node", SmallNode):
        ray.init(address="local", include_dashboard=False, **words)


def resources() -> dict[str, float]:
    """The resources of the cluster, or of the running local Ray."""
    mine = worker._global_node
    return mine.resources if isinstance(mine, SmallNode) else dict(ray.cluster_resources())


def gone() -> str | None:
    """A process of the running local Ray that has ended, if any: Ray would end this process for it, seconds later."""
    mine = worker._global_node
    return next((f"Ray's {name}" for name, _ in mine.dead_processes()), None) if isinstance(mine, SmallNode) else None


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """Replace an attribute of one of Ray's modules while the block runs."""
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)
