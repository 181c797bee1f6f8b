"""A forked script behaves as if it had been started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forks import Forks

SCRIPT = """
import os, sys
print(__name__, __file__, sys.argv, sys.path[0], os.getcwd(), os.environ["GIVEN"], sys.stdin.read())
print("é", file=sys.stderr)
"""


@pytest.mark.parametrize("end", ["", "sys.exit(7)", "sys.exit('no')", "os.kill(os.getpid(), 9)", "raise OSError('no')"])
def test_a_fork_equals_a_started_script(end: str, forks: Forks, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + end)
    (tmp_path / "folder").mkdir()
    words, environment = [str(script), "a b"], {**os.environ, "GIVEN": "variable"}
    forked = forks.run(words, tmp_path / "folder", environment)
    started = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path / "folder",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (forked.returncode, forked.stdout) == (started.returncode, started.stdout)
    assert forked.stderr.splitlines()[-1] == started.stderr.splitlines()[-1]
