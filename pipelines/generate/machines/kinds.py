"""Kinds of machines: what could change bytes on this one, and a cache of what it made of the probe pictures.

A *kind* is a digest, for a variant, of everything that could change what a machine makes of it: its CPU and GPU, the
installed libraries and their settings, our code and the configuration. Machines of one kind make the same bytes, so one
of them is probed, once: the result is cached below `SYSNOISE_CACHE`. Other kinds may make the same bytes too; their
probes show it. A custom program may depend on things that cannot be seen: every machine that runs one is its own kind,
and is probed in each run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generators.pixels.foreign.cache import cache
from generators.registry import UnavailableError
from generators.variant import Variant
from manifests.canonical import digest
from manifests.provenance import cpu, cpu_model, cpu_sha256, gpu, provenance
from manifests.schema import Recipe
from pipelines.generate.config import Config, code_here
from pipelines.generate.machines.probe import Probe, probe

# Environment variables by which libraries choose other code, by their prefixes.
_SETTINGS = (
    *("ATEN_", "DALI_", "DNNL_", "GLIBC_TUNABLES", "JSIMD_", "LD_", "MKL_", "NPY_", "NVIDIA_TF32", "ONEDNN_"),
    *("OPENBLAS_", "OPENCV_", "ORC_", "PYTHONPATH", "TF_", "VIPS_", "XLA_"),
)


@dataclass(frozen=True)
class Made:
    """What a machine makes of variants: their kinds and recipes by name, and the digests of methods by token.

    `about` describes the machine in a run's log.
    """

    kinds: Mapping[str, str]
    recipes: Mapping[str, Recipe]
    methods: Mapping[str, str]
    about: Mapping[str, Any]


def made_here(config: Config, variants: Sequence[Variant]) -> Made:
    """Probe this machine, which has a GPU if the variants need one.

    Raises ProvenanceError or ImportError if something that could change bytes cannot be determined, and what `probe`
    raises.
    """
    kinds = {variant.name: kind_here(config, variant) for variant in variants}
    own = {variant.name for variant in variants if _is_own(config, variant)}
    probes = {name: found for name, kind in kinds.items() if (found := _kept(kind, from_disk=name not in own))}
    if lacking := [variant for variant in variants if variant.name not in probes]:
        for name, found in probe(config, lacking).items():
            _keep(kinds[name], found)
            probes[name] = found
    methods = {token: sha256 for found in probes.values() for token, sha256 in found.methods.items()}
    recipes = {variant.name: _recipe(config, variant, probes[variant.name]) for variant in variants}
    return Made(kinds, recipes, methods, _about(any(map(config.needs_gpu, variants))))


def kinds_here(config: Config, variants: Iterable[Variant]) -> dict[str, str]:
    """This machine's kind for each variant, by name."""
    return {variant.name: kind_here(config, variant) for variant in variants}


@functools.lru_cache(maxsize=4096)
def kind_here(config: Config, variant: Variant) -> str:
    """This machine's kind for a variant. Raises ProvenanceError or ImportError."""
    distributions = {library.distribution for library in config.libraries(variant) if library.distribution}
    about = {
        "machine": _machine(),
        "installed": {name: _installed(name) for name in sorted(distributions | {"fpng", "isal", "numpy", "scipy"})},
        "libraries": config.versions(variant),
        "gpu": gpu() if config.needs_gpu(variant) else None,
        "config": {name: value for name, value in config.as_json().items() if name not in _OF_SETS},
        "variant": variant.spelled_out,
        "own": _this_machine() if _is_own(config, variant) else "",
    }
    return digest(about)


# Parts of a configuration that decide which samples a shard has, and not what is made from them.
_OF_SETS = ("source", "samples_per_shard")


def _recipe(config: Config, variant: Variant, found: Probe) -> Recipe:
    made_by = provenance(config.versions(variant), found.sha256, on_gpu=config.needs_gpu(variant))
    return Recipe(variant.name, variant.spelled_out, config.as_json(), made_by)


@functools.cache
def _machine() -> dict[str, Any]:
    settings = {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}
    return {
        "cpu": cpu_sha256(),
        "python": [sys.version, sys.prefix, *platform.libc_ver()],
        "settings": settings,
        "code": code_here(),
    }


@functools.cache
def _installed(distribution: str) -> str:
    """Digest of the files that an installer recorded for a distribution; empty if there is no such record."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        recorded = importlib.metadata.distribution(distribution).read_text("RECORD")
        return hashlib.sha256((recorded or "").encode()).hexdigest()
    return ""


def _is_own(config: Config, variant: Variant) -> bool:
    """Whether a variant uses a custom program."""
    return bool({*variant.methods, *config.base.methods}.intersection(config.methods))


@functools.cache
def _this_machine() -> list[str]:
    """Identifies this machine since its last boot, and on it this container's view of the files."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return [boot, platform.node(), os.readlink("/proc/self/ns/mnt")]


def _about(on_gpu: bool) -> dict[str, Any]:
    return {
        "cpu": {**cpu(), "model": cpu_model()},
        **({"gpu": gpu()} if on_gpu else {}),
        "python": platform.python_version(),
        "code_sha256": code_here(),
    }


# Probes that this process has made or read, by kind.
_known: dict[str, Probe] = {}


def _kept(kind: str, from_disk: bool) -> Probe | None:
    if kind not in _known and from_disk:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, UnavailableError):
            held = json.loads(_file(kind).read_bytes())
            _known[kind] = Probe(str(held["probe_sha256"]), dict(held["methods"]))
    return _known.get(kind)


def _keep(kind: str, found: Probe) -> None:
    """Cache a probe. If the cache cannot be written, the probe is simply made again when needed."""
    _known[kind] = found
    with contextlib.suppress(OSError, UnavailableError):
        file = _file(kind)
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        draft.write_text(json.dumps({"probe_sha256": found.sha256, "methods": dict(found.methods)}))
        draft.replace(file)


def _file(kind: str) -> Path:
    return cache() / "probes" / f"{kind}.json"
