"""Where a worker's time goes, by stage.

    python -m benchmarks.stages [--source TREE]

Runs generate.py for `pil_lanczos` and for `paper` with one worker, sampled by py-spy 100 times a second, and prints
each stage's share of the samples taken while a shard was made. py-spy must be allowed to inspect other processes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks import running
from pipelines.text import table

# A stack's stage is that of its innermost call that matches one of these, tried in order.
_STAGES = {
    r"decode \(generators/pixels/": "decode",
    r"resize \(generators/pixels/": "resize",
    r"(nv12|yuv)\w* \(generators/pixels/": "color",
    r"is_proven \(.*/png\.py": "check",
    r"write \(.*/png\.py": "encode",
    r"residual \(manifests/": "residual",
    r"join_shard \(": "joining of parts",
    r"(append|member) \(.*/tar\.py|(members|texts|add) \(": "tar: headers, hash, write",
    r"sha256 \(.*/pictures\.py": "hash of pixels",
    r"header \(generators/pixels/": "header of the source",
    r"commit \(|write \(.*/output\.py|to_bytes \(": "record, and commit of files",
    r"(read|in_order|fetch)\w* \(.*/(sources/|render\.py)": "read",
    r"make_shard \(": "everything else",
}
_RUNS = {"pil_lanczos": 1000, "paper": 300}


def main() -> None:
    """Measure, and print a table."""
    measure(running.photographs(running.parser("Where a worker's time goes.").parse_args().source))


def measure(images: Sequence[bytes]) -> None:
    """Print a table."""
    shares = {variant: _shares(images, variant, count) for variant, count in _RUNS.items()}
    stages = dict.fromkeys([*_STAGES.values()])
    rows = [(stage, *(f"{shares[variant][stage]:.1%}" for variant in _RUNS)) for stage in stages]
    print(table([("stage", *_RUNS), *rows], frozenset({1, 2})))


def _shares(images: Sequence[bytes], variant: str, count: int) -> dict[str, float]:
    with running.temporary() as folder:
        source, stacks = running.lay_out(images, count, Path(folder, "source")), Path(folder, "stacks")
        command = [str(Path(sys.executable).with_name("py-spy")), "record", "--subprocesses", "--format", "raw"]
        command += ["--rate", "100", "--output", str(stacks), "--", sys.executable, "generate.py", "--workers", "1"]
        command += map(str, running.imagenet(source, Path(folder, "out"), variant))
        done = subprocess.run(command, cwd=running.ROOT, capture_output=True, text=True, check=False)
        if done.returncode or not stacks.exists():
            sys.exit(f"py-spy ended with {done.returncode}: {done.stderr.strip()}")
        found: Counter[str] = Counter()
        for line in stacks.read_text().splitlines():
            stack, _, samples = line.rpartition(" ")
            if "make_shard (" in stack:
                found[_stage(stack.split(";"))] += int(samples)
    return {stage: found[stage] / found.total() for stage in _STAGES.values()}


def _stage(stack: Sequence[str]) -> str:
    for frame in reversed(stack):
        for pattern, stage in _STAGES.items():
            if re.search(pattern, frame):
                return stage
    raise AssertionError("a stack without make_shard")


if __name__ == "__main__":
    main()
