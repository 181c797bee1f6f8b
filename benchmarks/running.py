"""What benchmarks share: aims, real images in any number, and runs of generate.py that are observed from outside."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil

from pipelines.generate.sources import SampleSource


class Figure(NamedTuple):
    """A measured figure and its aim."""

    what: str
    found: float
    aim: float
    at_most: bool = False

    @property
    def row(self) -> tuple[str, str, str, str]:
        """A row of a table: what was measured, the aim, the figure, and whether the aim was reached."""
        reached = self.found <= self.aim if self.at_most else self.found >= self.aim
        sign = "≤" if self.at_most else "≥"
        return self.what, f"{sign} {self.aim:g}", f"{self.found:.2f}", "yes" if reached else "no"


ROOT = Path(__file__).resolve().parent.parent
SYNSET = "n01440764"  # ImageNet's class 0; any class would do
_INTERVAL = 0.05  # seconds between two looks at the processes


def parser(description: str) -> argparse.ArgumentParser:
    """A command line with `--source`."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--source", type=Path, help="a tree of class folders; default: the built-in photographs")
    return made


def parser_of_images(description: str) -> argparse.ArgumentParser:
    """A command line with `--source` and `--images`."""
    made = parser(description)
    made.add_argument("--images", type=int, default=60, help="how many; default: %(default)s")
    return made


def photographs(tree: Path | None) -> list[bytes]:
    """The images of a tree of class folders, or the built-in photographs. Exits if there are none."""
    if tree:
        found = [path.read_bytes() for path in sorted(tree.glob("*/*"))]
    else:
        source = SampleSource()
        found = [data for data in source.read(list(source.listing().samples)) if isinstance(data, bytes)]
    if not found:
        sys.exit(f"no images in the folders of {tree}")
    return found


def lay_out(images: Sequence[bytes], count: int, folder: Path) -> Path:
    """Make a tree with one class folder of `count` files, which repeat the images."""
    files = folder / SYNSET
    files.mkdir(parents=True)
    for index in range(count):
        path = files / f"image-{index:06d}.JPEG"
        if index < len(images):
            path.write_bytes(images[index])
        else:
            path.hardlink_to(files / f"image-{index % len(images):06d}.JPEG")
    return folder


@dataclass
class Watched:
    """What a run used, observed from outside: seconds of processor time, and bytes of resident memory.

    `seconds` is the time during which a worker was making a shard; `resident` is the size of the largest such worker,
    for each look. `started` is the processor time that each process had used when its work began: for a worker, its
    first shard; for the driver and Ray's processes, the first shard of all.
    """

    seconds: float = 0.0
    processor: dict[psutil.Process, float] = field(default_factory=dict)
    started: dict[psutil.Process, float] = field(default_factory=dict)
    resident: list[int] = field(default_factory=list)
    driver: int = 0

    @property
    def total(self) -> float:
        """The processor time of all processes, including Ray's."""
        return sum(self.processor.values())

    @property
    def working(self) -> float:
        """The processor time of all processes since their work began."""
        return sum(self.processor[process] - before for process, before in self.started.items())


def generate(*words: object) -> Watched:
    """Run generate.py and observe it. Exits if it fails."""
    command = [sys.executable, "generate.py", *map(str, words)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watched, began, ended = Watched(), 0.0, 0.0
    # The process is reaped only at the end, so that its id is not reused meanwhile.
    driver = psutil.Process(process.pid)
    while driver.status() != psutil.STATUS_ZOMBIE:
        now = time.monotonic()
        if working := _look(driver, watched):
            began, ended = began or now, now
            watched.resident.append(max(working))
        time.sleep(_INTERVAL)
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"generate.py ended with {process.returncode}: {errors.strip()}")
    watched.seconds = ended - began
    return watched


def _look(driver: psutil.Process, watched: Watched) -> list[int]:
    """Record all processes; returns the resident memory of each worker that is making a shard."""
    try:
        processes = [driver, *driver.children(recursive=True)]
    except psutil.Error:
        return []
    others, working = {}, []
    for process in processes:
        try:
            with process.oneshot():
                times = process.cpu_times()
                name, resident = process.name(), process.memory_info().rss
        except psutil.Error:
            continue
        watched.processor[process] = used = times.user + times.system
        if process == driver:
            watched.driver = max(watched.driver, resident)
        if name.startswith("ray::process"):
            working.append(resident)
            watched.started.setdefault(process, used)
        elif not name.startswith("ray::"):
            others[process] = used
    if working and len(watched.started) == len(working):
        watched.started |= others
    return working


def size_of(folder: Path, pattern: str = "*") -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def imagenet(source: Path, output: Path, variant: str) -> list[object]:
    """The arguments of every run of generate.py here, without the number of workers."""
    return ["--variant", variant, "--dataset", "imagenet", "--source", source, "--output", output]


def temporary() -> tempfile.TemporaryDirectory[str]:
    """A folder for a benchmark's files, in TMPDIR or the system's temporary folder."""
    return tempfile.TemporaryDirectory(prefix="sysnoise-")


def pin(cores: int) -> None:
    """Restrict this process, and those that it starts, to this many cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
