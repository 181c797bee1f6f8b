"""What tests of stores share: a real S3 server, and the environment of its clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.store import remote
from tests.store.server import S3Server, s3_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running server. A test that kills it must start it again."""
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def s3_environment(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server's keys in this process's environment."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    remote._connect.cache_clear()  # a connection keeps the keys that it was opened with
    yield
    remote._connect.cache_clear()
