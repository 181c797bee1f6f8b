"""Errors for addresses at which no cluster can be joined, and those of a real cluster that needs a token."""

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
        ("ray://head:10001", "for Ray Client, whose workers lack this checkout: give a head's HOST:6379"),
        ("head", "has no host and port: give a head's HOST:6379"),
        ("head:", "has no host and port"),
        (":6379", "has no host and port"),
        ("head:123456", "has no host and port"),
    ],
)
def test_an_address_that_is_not_a_head_s_is_refused(address: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"--address {address} .*{said}"):
        joining.check(address)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "needs a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or write it to ~/.ray/auth_token)"),
        ({"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE is `token`, but there is no token: set RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_TOKEN": "x" * 64}, "the one in RAY_AUTH_TOKEN is not sent: set RAY_AUTH_MODE=token as well"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x" * 64}, "does not accept the token in RAY_AUTH_TOKEN"),
    ],
)
def test_the_error_says_which_token_is_needed(
    joined: dict[str, str], tmp_path: Path, variables: Mapping[str, str], said: str
) -> None:
    """The command itself exits with status 2, whatever is wrong with the token."""
    given = {name: value for name, value in joined.items() if not name.startswith("RAY_AUTH")}
    words = [sys.executable, "generate.py", "--variant", "pil", "--limit", "1", "--output", str(tmp_path / "out")]
    environment = {**given, "HOME": str(tmp_path), **variables}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
