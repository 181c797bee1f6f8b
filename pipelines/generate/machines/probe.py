"""The probe: what this machine's libraries and our code make of a few small pictures, as digests.

A variant's digest is of all that would be written of the probe pictures, the tar and the rows, by the code that makes
shards: whatever changes a byte there changes it, and a comment in our code does not. A method's digest is of its own
output on pictures that no other method has touched: where variants differ, it names the one that is at fault. Nothing
here is kept: `kinds` knows what need not be made again.
"""

from __future__ import annotations

import functools
import hashlib
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from generators.geometry import frame
from generators.registry import Method
from generators.variant import Variant
from manifests.schema import Row, canonical_json
from pipelines.errors import RunError
from pipelines.generate.calls import Caller, Failure, Pixels, decode
from pipelines.generate.config import Config
from pipelines.generate.machines.pictures import ProbePicture, probe_pictures, probe_pixels
from pipelines.generate.render import Given, Renderer
from pipelines.generate.shard import members_of
from pipelines.generate.sources import Sample
from pipelines.generate.tar import TarWriter


class Probe(NamedTuple):
    """The digest of what a variant makes of the probe pictures, and those of its methods by token."""

    sha256: str
    methods: Mapping[str, str]


def probe(config: Config, variants: Sequence[Variant]) -> dict[str, Probe]:
    """Render the probe pictures through variants; the probes by the variants' names.

    Raises RunError where a library ends before it has answered, and MemoryError.
    """
    pictures = list(probe_pictures(config.geometry))
    try:
        found = _variants(config, variants, pictures)
        methods = dict.fromkeys(method for variant in variants for method in variant.methods)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd files
            digests = {method.token: _digest(_outputs(method, config, pictures)) for method in methods}
    except SystemExit as lost:  # as a worker would end with it; here nobody begins another
        raise RunError(f"the built-in pictures cannot be rendered: {lost}") from None
    return {
        variant.name: Probe(found[variant.name], {method.token: digests[method.token] for method in variant.methods})
        for variant in variants
    }


def _variants(config: Config, variants: Sequence[Variant], pictures: Iterable[ProbePicture]) -> dict[str, str]:
    renderer = Renderer(variants, config.base, config.geometry, config.size, config.image_format, shard=0)
    segmented = config.dataset == "cityscapes"
    given = [
        Given(Sample(name, 0, name, len(data), ()), data, classes if segmented else None)
        for name, data, classes in pictures
    ]
    tars = [TarWriter(io.BytesIO()) for _ in variants]
    rows: list[list[Row]] = [[] for _ in variants]
    for rendered in renderer.render_all(given):
        for tar, those, one in zip(tars, rows, rendered, strict=True):
            tar.append(members_of(one, config))
            those.append(one.row)
    parts = zip(variants, tars, rows, strict=True)
    return {variant.name: _digest((tar.sha256.encode(), _columns(those))) for variant, tar, those in parts}


def _columns(rows: Iterable[Row]) -> bytes:
    return canonical_json([asdict(row) for row in rows])


def _outputs(method: Method, config: Config, pictures: Iterable[ProbePicture]) -> Iterator[bytes]:
    """What a method gives, one picture after the other, or why it gives none."""
    caller = Caller("", {}, None)
    if method.stage == "decode" or method.whole:
        told = (2,) if method.shrinks else (224, 224) if method.whole else ()
        for picture in pictures:
            yield from _parts(decode(method, picture.data, caller, *told))
        return
    for pixels in probe_pixels():
        height, width = pixels.shape[:2]
        target = frame(config.geometry, width, height, config.size).resize or (width, height)
        arguments = target if method.stage == "resize" else ()
        yield from _parts(caller.pixels((method,), functools.partial(method.load(), pixels, *arguments)))


def _parts(made: Pixels | Failure) -> Iterator[bytes]:
    if isinstance(made, Failure):
        yield made.reason.encode()
    else:
        yield repr(made.shape).encode()
        yield made.tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()
