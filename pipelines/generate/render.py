"""Renders one source image through many variants: decoded once per decoder, resized once per (decoder, resize).

Owns the content of a sample's row. If a library fails, only the variants that use it lose the sample: the row keeps the
reason, which begins with the method's token. GPU methods are called with batches of samples, before each sample is
rendered with the results; if a batch fails, its samples are given to the method one by one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from PIL.Image import DecompressionBombError

from generators.geometry import MAX_PIXELS, Frame, Size, frame
from generators.pixels.pillow import Header, header
from generators.registry import MAX_BATCH, Method
from generators.variant import Variant
from manifests.images import LABEL_MAP, LABEL_MAP_SHA256, ImageRow, extension_of
from manifests.residual import Residual, residual
from pipelines.generate.calls import EMPTY, Call, Caller, Failure, Pixels, decode, make_batch
from pipelines.generate.encoder import Encoder
from pipelines.generate.given import Given, Rendered
from pipelines.generate.pictures import Picture, Pictures, Same
from pipelines.generate.sources import Missing, Sample


class _Result(NamedTuple):
    known: Header
    output: Picture | Failure


_UNKNOWN, _BOMB = Header(0, 0, 1), Header(-1, -1, 1)
# Pixels held in memory for batches or from them: 201 MB. A larger image is processed on its own.
_WAITING = 2**26


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences libraries' warnings about odd files; what matters becomes the row's error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Renderer:
    """Renders samples for a set of variants against a reference, which need not be among them.

    Calls in `lethal` are not made: they fail with the reason given there. `tell` is called with every other call before
    it is made, and with None after it has returned; no batches are made then. Raises SystemExit if a GPU has stopped
    working in this process: whoever started the process can give the work to another.
    """

    variants: Sequence[Variant]
    reference: Variant
    geometry: str
    size: Size
    image_format: str
    shard: int
    lethal: Mapping[Call, str] = field(default_factory=dict)
    tell: Callable[[Call | None], None] | None = None

    def render_all(self, given: Iterable[Given]) -> Iterator[list[Rendered]]:
        """A result for each variant, in order, for each sample, in order.

        One sample is in memory at a time or, if a method runs on a GPU, as many as fit into a batch.
        """
        for window in self._windows(map(self._open, given)):
            self._make_in_batches(window)
            for work in window:
                yield self._rendered(work)

    def render(self, sample: Sample, data: bytes | Missing) -> list[Rendered]:
        """The results for one sample without a label map."""
        return next(self.render_all([Given(sample, data)]))

    @functools.cached_property
    def _batched(self) -> Mapping[Method, Collection[Method]]:
        """The decoders whose output is made or resized in batches, each with its resize methods that run on a GPU."""
        found: dict[Method, dict[Method, None]] = {}
        for variant in () if self.tell else (self.reference, *self.variants):
            resizes = [variant.resize] if variant.resize and variant.resize.gpu else []
            if resizes or variant.decode.gpu:
                found.setdefault(variant.decode, {}).update(dict.fromkeys(resizes))
        return found

    @_quiet()
    def _open(self, given: Given) -> _Work:
        if isinstance(given.classes, Missing):
            given = Given(given.sample, given.classes)
        caller = Caller(given.sample.key, self.lethal, self.tell)
        data = given.data
        known = None if isinstance(data, Missing) else caller.attempt("source", lambda: _measure(data))
        return _Work(given, caller, known)

    def _windows(self, works: Iterable[_Work]) -> Iterator[list[_Work]]:
        """The samples in groups that may be in memory together."""
        most = MAX_BATCH if self._batched else 1
        window: list[_Work] = []
        waiting = 0
        for work in works:
            pixels = self._waiting(work)
            if window and waiting + pixels > _WAITING:
                yield window
                window, waiting = [], 0
            window.append(work)
            waiting += pixels
            if len(window) == most:
                yield window
                window, waiting = [], 0
        if window:
            yield window

    def _waiting(self, work: _Work) -> int:
        """The number of pixels that a sample's pictures have in memory for batches or from them."""
        if not (self._batched and work.size):
            return 0
        width, height = work.size
        try:
            columns, rows = frame(self.geometry, width, height, self.size).resize or (0, 0)
        except ValueError:  # too large to be resized
            columns, rows = 0, 0
        return sum(width * height + columns * rows * len(resizes) for resizes in self._batched.values())

    @_quiet()
    def _make_in_batches(self, window: Sequence[_Work]) -> None:
        """Store in the samples' callers what GPUs make of all of them, and the pictures that this was made from."""
        works = [work for work in window if work.size]  # an image of unknown size may not fit into a batch
        for decoder, resizes in self._batched.items():
            if decoder.gpu:
                make_batch((decoder,), [(work.caller, (work.given.data,)) for work in works])
            if resizes:
                calls = [call for work in works if (call := self._resize_call(decoder, work))]
                for resize in resizes:
                    make_batch((decoder, resize), calls)

    def _resize_call(self, decoder: Method, work: _Work) -> tuple[Caller, tuple[Any, ...]] | None:
        """The arguments of a resize method's call for a sample; None if there is nothing to resize."""
        assert isinstance(work.given.data, bytes)
        assert isinstance(work.known, Header)
        made = self._decode(decoder, work.given.data, work.known, work.caller)
        work.caller.made[decoder,] = made if isinstance(made, Failure) else made.pixels
        if isinstance(made, Failure) or not made.frame.resize:
            return None
        return work.caller, (made.pixels, *made.frame.resize)

    @_quiet()
    def _rendered(self, work: _Work) -> list[Rendered]:
        return list(self._render(work))

    def _render(self, work: _Work) -> Iterator[Rendered]:
        sample, data, classes = work.given
        assert not isinstance(classes, Missing)
        variants = [variant.of(sample.key) for variant in self.variants]
        results = self._results(work, variants)
        base = results[self.reference.name].output
        encoder = Encoder(self.image_format, classes, work.caller)
        residuals: dict[Same, Residual | None] = {}
        digest = "" if isinstance(data, Missing) else hashlib.sha256(data).hexdigest()
        for variant, made_by in zip(self.variants, variants, strict=True):
            known, output = results[variant.name]
            fields: dict[str, Any] = {
                "key": sample.key,
                "shard": self.shard,
                "label": sample.label,
                "source_path": sample.path,
                "source_sha256": digest,
                "source_width": known.width,
                "source_height": known.height,
                "source_orientation": known.orientation,
                "source_profile": known.profile,
                "extra": {**dict(sample.extra), **{stage: made_by.method(stage).token for stage in variant.drawn}},
            }
            encoded = output if isinstance(output, Failure) else encoder.encode(output)
            if isinstance(encoded, Failure):
                yield Rendered(ImageRow(**fields, status="failed", error=encoded.reason), None)
                continue
            assert not isinstance(output, Failure)
            if encoded.label_map is not None:
                fields["extra"][LABEL_MAP_SHA256] = encoded.label_map_sha256
            if output.same not in residuals:
                residuals[output.same] = None if isinstance(base, Failure) else residual(output.pixels, base.pixels)
            row = _row(output, residuals[output.same], fields)
            files = {extension_of(self.image_format): encoded.image}
            if encoded.label_map is not None:
                files[LABEL_MAP] = encoded.label_map
            yield Rendered(row, files)

    def _results(self, work: _Work, variants: Iterable[Variant]) -> Mapping[str, _Result]:
        """The results of the reference and the variants, by name."""
        named = {variant.name: variant for variant in (self.reference, *variants)}
        data, known = work.given.data, work.known
        if isinstance(data, Missing):
            return {name: _Result(_UNKNOWN, Failure(data.reason)) for name in named}
        if isinstance(known, Failure):
            return {name: _Result(_UNKNOWN, known) for name in named}
        if known is _BOMB:
            reason = f"refused undecoded: more than {MAX_PIXELS:,} pixels (a decompression bomb?)"
            return {name: _Result(_UNKNOWN, Failure(f"{v.decode.token}: {reason}")) for name, v in named.items()}
        return dict(self._made(list(named.values()), data, known, work.caller))

    def _made(
        self, variants: Sequence[Variant], data: bytes, known: Header | None, caller: Caller
    ) -> Iterator[tuple[str, _Result]]:
        """The results by variant. If Pillow cannot read a file's header, its size is that of the decoded image.

        Works through one decoder at a time, so that only two full-size images are in memory: the reference's and one
        more.
        """
        first: Pictures | None = None
        colored: dict[tuple[Method, Same], Pixels | Failure] = {}
        for decoder in dict.fromkeys(variant.decode for variant in variants):
            alike = [variant for variant in variants if variant.decode == decoder]
            decoded = self._decode(decoder, data, known, caller)
            if isinstance(decoded, Failure):
                yield from ((variant.name, _Result(known or _UNKNOWN, decoded)) for variant in alike)
                continue
            same = first is not None and first.decoded.frame == decoded.frame
            if first and same and np.array_equal(decoded.pixels, first.decoded.pixels):
                pictures = first
            else:
                pictures = Pictures(decoded, caller, colored)
            first = first or pictures
            size = known or Header(*decoded.frame.source, 1)
            yield from ((variant.name, _Result(size, pictures.of(variant))) for variant in alike)

    def _decode(self, decoder: Method, data: bytes, known: Header | None, caller: Caller) -> Picture | Failure:
        """A decoded image and its frame.

        The frame is for the decoded size or, for a decoder that is given the size needed and may return a smaller
        image, for the size in the header.
        """
        if not (decoder.shrinks or decoder.whole):
            decoded = decode(decoder, data, caller)
            if isinstance(decoded, Failure):
                return decoded
            target = self._frame(decoder, decoded.shape[1], decoded.shape[0])
            return target if isinstance(target, Failure) else Picture(decoded, target)
        if not data:
            return Failure(f"{decoder.token}: {EMPTY}")
        if known is None or not known.width * known.height:
            return Failure(f"{decoder.token}: needs the size of the image, and Pillow cannot read it")
        target = self._frame(decoder, known.width, known.height)
        if isinstance(target, Failure):
            return target
        extra = (target.shrink,) if decoder.shrinks else (target.resize or target.source)
        decoded = decode(decoder, data, caller, *extra)
        return decoded if isinstance(decoded, Failure) else Picture(decoded, target)

    def _frame(self, decoder: Method, width: int, height: int) -> Frame | Failure:
        try:
            return frame(self.geometry, width, height, self.size)
        except ValueError as error:
            return Failure(f"{decoder.token}: {error}")


def _measure(data: bytes) -> Header | None:
    """A file's header; None if Pillow cannot read it, and `_BOMB` if the header's image is too large."""
    try:
        return header(data)
    except DecompressionBombError:
        return _BOMB


@dataclass(frozen=True)
class _Work:
    """A sample being rendered: what was given, the caller for it, and its header."""

    given: Given
    caller: Caller
    known: Header | Failure | None

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height, if the header has them and the image is not refused."""
        if not isinstance(self.known, Header) or self.known is _BOMB or not self.known.width * self.known.height:
            return None
        return self.known.width, self.known.height


def _row(output: Picture, compared: Residual | None, fields: Mapping[str, Any]) -> ImageRow:
    target = output.frame
    return ImageRow(
        **fields,
        width=target.width,
        height=target.height,
        pixel_sha256=output.sha256,
        residual_mean_abs=compared.mean_abs if compared else None,
        residual_max_abs=compared.max_abs if compared else None,
        residual_changed=compared.changed if compared else None,
        crop_x=target.crop_x,
        crop_y=target.crop_y,
        scale_x=target.scale_x,
        scale_y=target.scale_y,
    )
