"""What made a variant: library and codec versions, the CPU's architecture, the GPU if one was used, and a digest of
what these and our code make of the probe pictures.

It contains only what changes bytes, so that two runs that must agree have the same provenance: no GPU serial number
and no host name. What might change bytes, a CPU's features and the code's digest, goes to the run's log.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class ProvenanceError(ValueError):
    """A part of the provenance cannot be determined; the message says why."""


# Instruction sets by which image libraries choose code. These may decide pixels; a CPU's model name does not.
_SIMD = {
    *("sse2", "pni", "ssse3", "sse4_1", "sse4_2", "avx", "f16c", "fma", "avx2"),
    *("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_vbmi"),
    *("asimd", "asimddp", "asimdhp", "sve", "sve2"),
}


def cpu() -> dict[str, Any]:
    """The architecture and SIMD instruction sets of this machine's first CPU, as Linux names them."""
    described = _first_cpu()
    flags = (described.get("flags") or described.get("Features", "")).split()
    return {"architecture": platform.machine(), "features": sorted(_SIMD.intersection(flags))}


def cpu_model() -> str:
    """The model name of this machine's first CPU; empty if unknown."""
    return _first_cpu().get("model name", "")


def cpu_sha256() -> str:
    """Digest of everything that the first CPU reports, except what varies from moment to moment."""
    lasting = sorted((name, value) for name, value in _first_cpu().items() if name not in _FLEETING)
    return hashlib.sha256(repr((platform.machine(), lasting)).encode()).hexdigest()


# Lines of /proc/cpuinfo that differ between cores or from moment to moment.
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

    Only NVML knows the driver's version, but it numbers GPUs differently and ignores CUDA_VISIBLE_DEVICES, so the rest
    comes from CUDA itself. Raises ProvenanceError.
    """
    name, capability = _device()
    return {"name": name, "compute_capability": capability, "driver": _driver()}


def _device() -> tuple[str, str]:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise ProvenanceError(f"the GPU cannot be identified ({error})") from None
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
            raise ProvenanceError(f"the GPU cannot be identified (CUresult {status})")
    return name.value.decode(), f"{major.value}.{minor.value}"


def _driver() -> str:
    import pynvml  # slower to import than everything else here, and needed only with a GPU

    try:
        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise ProvenanceError(
            f"the GPU driver's version cannot be read ({error}): in a container, NVIDIA_DRIVER_CAPABILITIES must "
            "include utility"
        ) from None


# Code in Python, in Node.js, and in Chromium's pages.
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
    """Everything besides source and configuration that can change bytes, as plain JSON values. `probe` is a digest.

    Raises ProvenanceError if `on_gpu` is set and the GPU cannot be described.
    """
    return {
        "libraries": dict(sorted(versions.items())),
        "cpu": {"architecture": platform.machine()},
        **({"gpu": gpu()} if on_gpu else {}),
        "probe_sha256": probe,
    }
