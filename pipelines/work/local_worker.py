"""The worker process of a local Ray, instead of Ray's own `setup_worker.py`. To be run, not imported.

Ray's script imports Ray to read a runtime environment, then restarts Python, which imports Ray again: a second of CPU
time. A local Ray has no runtime environments, so this script runs Ray's worker directly.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys


def _main() -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--language")
    parser.add_argument("--serialized-runtime-env-context")
    _, words = parser.parse_known_args()
    flags = [word for word in words if word in ("-s", "-S")]  # Python's flags, which this process runs without
    script, *sys.argv[1:] = words[len(flags) :]
    sys.path[0] = os.path.dirname(script)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    _main()
