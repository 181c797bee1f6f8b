"""What is said of an address at which no cluster can be joined, by a real cluster that wants a token."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.work import joining
from tests import ROOT


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://head:8265", "a cluster's dashboard, which `ray job submit --address` takes: give a head's HOST:6379"),
        ("https://ray.example.org/", "a cluster's dashboard, which `ray job submit --address` takes"),
        ("ray://head:10001", "a Ray Client's, whose workers lack this checkout: give a head's HOST:6379"),
        ("head", "has no host and port: give a head's HOST:6379"),
        ("head:", "has no host and port"),
        (":6379", "has no host and port"),
        ("head:123456", "has no host and port"),
    ],
)
def test_what_is_no_head_s_address_is_told(address: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"--address {address} .*{said}"):
        joining.check(address)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or write it to ~/.ray/auth_token)"),
        ({"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE is `token`, and there is no token: set RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_TOKEN": "x" * 64}, "that in RAY_AUTH_TOKEN is not sent: set RAY_AUTH_MODE=token as well"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x" * 64}, "does not take the token in RAY_AUTH_TOKEN"),
    ],
)
def test_a_token_that_is_wanted_is_named(
    joined: dict[str, str], tmp_path: Path, variables: Mapping[str, str], said: str
) -> None:
    """The real command ends with status 2, on its own, whichever way the token is not there."""
    given = {name: value for name, value in joined.items() if not name.startswith("RAY_AUTH")}
    words = [sys.executable, "generate.py", "--variant", "pil", "--limit", "1", "--output", str(tmp_path / "out")]
    environment = {**given, "HOME": str(tmp_path), **variables}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
