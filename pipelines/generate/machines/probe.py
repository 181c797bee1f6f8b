"""The probe: digests of what this machine's libraries and our code make of a few small pictures or recordings.

A variant's digest covers everything that would be written for the probe samples, tar and rows, by the code that makes
shards: whatever changes a byte changes it, while a comment in our code does not. If methods are drawn, there are more
of them than probe samples, so the digest also covers a variant for each of them. A method's digest is that of its
output for input that no other method has touched: if variants differ, it identifies the method responsible. Nothing is
cached here; `kinds` does that.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from generators.variant import Variant
from manifests.canonical import canonical_json
from manifests.row import Row
from pipelines.errors import RunError
from pipelines.generate.config import Config, ImageConfig, SpeechConfig
from pipelines.generate.given import Given
from pipelines.generate.machines import pictures, recordings
from pipelines.generate.renderers import renderer
from pipelines.generate.shard import members_of
from pipelines.generate.tar import TarWriter


class Probe(NamedTuple):
    """The digest of a variant's output for the probe samples, and its methods' digests by token."""

    sha256: str
    methods: Mapping[str, str]


def probe(config: Config, variants: Sequence[Variant]) -> dict[str, Probe]:
    """Render the probe samples through variants; returns the probes by variant name.

    Raises RunError if a library ends without an answer, and MemoryError.
    """
    each = {variant.name: variant.each for variant in variants}
    methods = {name: dict.fromkeys(m for one in those for m in one.methods) for name, those in each.items()}
    every = dict.fromkeys(method for those in methods.values() for method in those)
    alone = [one for variant in variants if variant.drawn for one in each[variant.name]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd files
            if isinstance(config, SpeechConfig):
                found = _variants(config, [*variants, *alone], recordings.given())
                digests = {method.token: _digest(recordings.outputs(method, config.mel)) for method in every}
            else:
                assert isinstance(config, ImageConfig)
                given = pictures.given(config)
                found = _variants(config, [*variants, *alone], given)
                digests = {method.token: _digest(pictures.outputs(method, config, given)) for method in every}
    except SystemExit as lost:  # a worker would be replaced; this process would not
        raise RunError(f"the built-in samples cannot be rendered: {lost}") from None
    for variant in variants:
        if variant.drawn:
            found[variant.name] = _digest(found[one.name].encode() for one in (variant, *each[variant.name]))
    return {
        name: Probe(found[name], {method.token: digests[method.token] for method in those})
        for name, those in methods.items()
    }


def _variants(config: Config, variants: Sequence[Variant], given: Iterable[Given]) -> dict[str, str]:
    tars = [TarWriter(io.BytesIO()) for _ in variants]
    rows: list[list[Row]] = [[] for _ in variants]
    for rendered in renderer(config, variants, 0).render_all(given):
        for tar, those, one in zip(tars, rows, rendered, strict=True):
            tar.append(members_of(one, config))
            those.append(one.row)
    parts = zip(variants, tars, rows, strict=True)
    return {variant.name: _digest((tar.sha256.encode(), _columns(those))) for variant, tar, those in parts}


def _columns(rows: Iterable[Row]) -> bytes:
    return canonical_json([asdict(row) for row in rows])


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()
