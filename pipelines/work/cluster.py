"""The Ray of a run: a local one is started, or a cluster joined, when it is first needed, since that takes seconds."""

from __future__ import annotations

import signal
from types import ModuleType

from pipelines.command import stop
from pipelines.options import Cluster


class Ray:
    """A run's Ray. Its owner must close it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._started: ModuleType | None = None

    @property
    def running(self) -> bool:
        """Whether Ray has been started or joined."""
        return self._started is not None

    def engine(self) -> ModuleType:
        """The engine's module, with Ray running. Raises RunError if Ray cannot be started or joined."""
        from pipelines.work import engine

        self._started = engine
        engine.start(self.cluster.address, self.cluster.workers)
        signal.signal(signal.SIGTERM, stop)  # Ray has installed its own handler
        return engine

    def close(self) -> None:
        """Leave the cluster, or end the local Ray, if it was started."""
        if self._started:
            self._started.stop()
            self._started = None
