"""Runs the commands of README.md and docs/*.md as a newcomer would, on real data; a release is tried with it.

    python -m tests.commands DATA [PAGE ...]

DATA is the folder of real data (CONTRIBUTING.md); all pages are run by default. `/data` in a command is a temporary
folder. Commands run in a folder of links to this checkout, so that nothing is written into it. The Hub is a server on
loopback. Prints a line for each command: its exit status and seconds, and the end of what a failed command printed; or
why it is left out. Ends with status 1 if a command failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import ROOT
from tests.documents import PAGES, README, THEIRS, commands
from tests.given import Given
from tests.hub.server import serve
from tests.hub.state import Hub

# Pages that go on with what the one before has made; each other page begins with nothing made.
TOGETHER = (
    README,
    *(f"docs/{name}.md" for name in ("match", "score", "formats", "page", "layers", "compare", "model-noise", "hub")),
)
# Commands that are not run, by what they begin with or contain.
LEFT_OUT = {
    "make test": "by itself; see CONTRIBUTING.md",
    "make bench": "an hour; see benchmarks/README.md",
    ".venv/bin/pytest": "in make test",
    "-m tests.pixels --write": "would change the table of pixels",
    "-m examples.mix_training": "six minutes of one core; tests/test_mix_examples.py runs it in small",
    "/data/lite0.safetensors": "published in another form only; test_tent_example.py has a small network",
    "/data/tented": "without the weights of the command before",
}
# A decoder of one's own, as docs/variants.md describes it.
DECODER = """
import io, sys
from PIL import Image
Image.open(io.BytesIO(sys.stdin.buffer.read())).convert("RGB").save(sys.stdout.buffer, "ppm")
"""


def left_out(command: str) -> str | None:
    """Why a command is not run."""
    if THEIRS.match(command) or command.startswith(("export ", "mkdir ")):
        return "another program's"
    if ("codec" in command or "learned" in command) and importlib.util.find_spec("torch") is None:
        return "needs PyTorch: requirements-timm.txt"
    return next((why for part, why in LEFT_OUT.items() if part in command), None)


class Checkout:
    """A folder with links to everything in this checkout and to its environment, and a `/data` next to it."""

    def __init__(self, folder: Path, data: Path, environment: dict[str, str]) -> None:
        self.folder, self.data, self.environment = folder / "checkout", folder / "data", environment
        self.folder.mkdir()
        self.data.mkdir()
        for path in ROOT.iterdir():
            if path.name not in (".git", ".venv", "out"):
                (self.folder / path.name).symlink_to(path)
        (self.folder / ".venv").symlink_to(sys.prefix)
        (self.folder / "decode.py").write_text(DECODER)
        self.given = Given(self.data, data, self.run_entry)

    def run_entry(self, words: str) -> None:
        done = self.run(f".venv/bin/python {words}")
        if done.returncode:
            raise SystemExit(f"{words}: ended with status {done.returncode}\n{done.stdout}")

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        self.given.make(command)
        return subprocess.run(
            ["bash", "-c", command.replace("/data/", f"{self.data}/").replace("ORG/", "lab/")],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def environment(hub: Hub, home: Path) -> dict[str, str]:
    """With the environment's programs first, as if it were activated."""
    return {**os.environ, **hub.environment(home), "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}


def stories(pages: Sequence[str]) -> Iterator[list[str]]:
    """The pages, those in one list that go on with what the ones before have made."""
    together = [page for page in TOGETHER if page in pages]
    yield from filter(None, [together])
    yield from ([page] for page in pages if page not in TOGETHER)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.commands")
    parser.add_argument("data", type=Path)
    parser.add_argument("pages", nargs="*", default=PAGES, metavar="PAGE")
    options = parser.parse_args(words)
    failed = 0
    for story in stories(options.pages):
        with serve() as hub, tempfile.TemporaryDirectory() as folder:
            checkout = Checkout(Path(folder), options.data.resolve(), environment(hub, Path(folder)))
            for page, command in ((each, command) for each in story for command in commands(each)):
                shown = f"{page}: {' '.join(command.split())}"
                if why := left_out(command):
                    print(f"-       {shown} ({why})", flush=True)
                    continue
                begun = time.monotonic()
                done = checkout.run(command)
                failed += done.returncode != 0
                print(f"{done.returncode} {time.monotonic() - begun:4.0f}s {shown}", flush=True)
                if done.returncode:
                    print(*done.stdout.splitlines()[-12:], sep="\n        ", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
