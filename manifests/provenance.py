"""What made a variant: library and codec versions, CPU features, and a digest of the code.

Only what can change a byte is in it, so that two runs that must agree have the same provenance.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Instruction sets that image libraries choose code by; a CPU's model name does not decide pixels, these may.
_SIMD = {
    *("sse2", "pni", "ssse3", "sse4_1", "sse4_2", "avx", "f16c", "fma", "avx2"),
    *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_vbmi"),
    *("asimd", "asimddp", "asimdhp", "sve", "sve2"),
}


def cpu() -> dict[str, Any]:
    """Architecture and the SIMD instruction sets of this machine's first CPU, as Linux names them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return {"architecture": platform.machine(), "features": sorted(_SIMD.intersection(flags))}


def code_sha256(root: Path, parts: Iterable[str]) -> str:
    """Digest of Python files, by name and content: `parts` are files and packages below `root`."""
    named = [root / part for part in parts]
    files = {file for path in named for file in (path.rglob("*.py") if path.is_dir() else [path])}
    total = hashlib.sha256()
    for path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()


def provenance(versions: Mapping[str, str], code: str) -> dict[str, Any]:
    """Everything that may change a byte besides source and configuration, as plain JSON values; `code` is a digest."""
    return {
        "libraries": dict(sorted(versions.items())),
        "cpu": cpu(),
        "code_sha256": code,
    }
