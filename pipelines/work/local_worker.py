"""What a local Ray starts as its workers, in place of its own `setup_worker.py`.

That one imports Ray to read a runtime environment, and begins Python anew, which imports Ray again: a second of a
core's time. A local Ray has no runtime environments, so Ray's worker is run here. To be run, not imported.
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
    flags = [word for word in words if word in ("-s", "-S")]  # of Python, which it has been started without
    script, *sys.argv[1:] = words[len(flags) :]
    sys.path[0] = os.path.dirname(script)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    _main()
