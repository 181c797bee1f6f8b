"""What made a variant: library and codec versions, the CPU's architecture, the GPU where one was used, and a digest of
what these and our code make of the probe pictures.

Only what can change a byte is in it, so that two runs that must agree have the same provenance: no serial number of a
GPU, and no host. What may change a byte and need not, a CPU's features and the code's digest, is told for a run's log.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class ProvenanceError(ValueError):
    """What a part of the provenance is cannot be found out; the message says why."""


# Instruction sets that image libraries choose code by; a CPU's model name does not decide pixels, these may.
_SIMD = {
    *("sse2", "pni", "ssse3", "sse4_1", "sse4_2", "avx", "f16c", "fma", "avx2"),
    *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_vbmi"),
    *("asimd", "asimddp", "asimdhp", "sve", "sve2"),
}


def cpu() -> dict[str, Any]:
    """Architecture and the SIMD instruction sets of this machine's first CPU, as Linux names them."""
    told = _first_cpu()
    flags = (told.get("flags") or told.get("Features", "")).split()
    return {"architecture": platform.machine(), "features": sorted(_SIMD.intersection(flags))}


def cpu_model() -> str:
    """What this machine's first CPU calls itself; empty where it does not."""
    return _first_cpu().get("model name", "")


def cpu_sha256() -> str:
    """Digest of all that the first CPU says of itself but how fast it runs just now."""
    told = sorted((name, value) for name, value in _first_cpu().items() if name not in _FLEETING)
    return hashlib.sha256(repr((platform.machine(), told)).encode()).hexdigest()


# Lines of /proc/cpuinfo that differ between cores, or from moment to moment.
_FLEETING = frozenset(
    {"processor", "cpu MHz", "physical id", "core id", "apicid", "initial apicid", "bogomips", "BogoMIPS"}
)


def _first_cpu() -> dict[str, str]:
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


# CUdevice_attribute, in cuda.h.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


def gpu() -> dict[str, str]:
    """Name and compute capability of the first GPU that CUDA shows, and the driver's version.

    NVML, which knows the driver's version, numbers GPUs otherwise and does not heed CUDA_VISIBLE_DEVICES: CUDA itself
    is asked for the rest. Raises ProvenanceError.
    """
    name, capability = _device()
    return {"name": name, "compute_capability": capability, "driver": _driver()}


def _device() -> tuple[str, str]:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise ProvenanceError(f"no GPU can be asked what it is ({error})") from None
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    major, minor = ctypes.c_int(), ctypes.c_int()
    for status in (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), 0),
        cuda.cuDeviceGetName(name, len(name), device),
        cuda.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device),
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device),
    ):
        if status:
            raise ProvenanceError(f"the GPU does not say what it is (CUresult {status})")
    return name.value.decode(), f"{major.value}.{minor.value}"


def _driver() -> str:
    import pynvml  # takes longer than all else here, and only a GPU needs it

    try:
        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise ProvenanceError(
            f"the GPU driver's version cannot be read ({error}): in a container, NVIDIA_DRIVER_CAPABILITIES must have "
            "utility"
        ) from None


# What runs: Python's, Node.js's, and a page of Chromium's.
_SOURCES = frozenset({".py", ".cjs", ".js", ".html"})


def code_sha256(root: Path, parts: Iterable[str]) -> str:
    """Digest of source files, by name and content: `parts` are files and packages below `root`."""
    named = [root / part for part in parts]
    files = {file for path in named for file in (path.rglob("*.*") if path.is_dir() else [path])}
    files = {file for file in files if file.suffix in _SOURCES}
    total = hashlib.sha256()
    for path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()


def provenance(versions: Mapping[str, str], probe: str, *, on_gpu: bool = False) -> dict[str, Any]:
    """Everything that may change a byte besides source and configuration, as plain JSON values; `probe` is a digest.

    Raises ProvenanceError where `on_gpu` is said and no GPU can be described.
    """
    return {
        "libraries": dict(sorted(versions.items())),
        "cpu": {"architecture": platform.machine()},
        **({"gpu": gpu()} if on_gpu else {}),
        "probe_sha256": probe,
    }
