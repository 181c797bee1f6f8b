"""One source image through many variants: decoded once per decoder, resized once per (decoder, resize).

Owns what a sample's row says. A library that fails costs the sample in the variants that use it, and nothing else:
the row keeps the reason, which begins with the method's token.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError

from generators.geometry import Frame, Size, frame
from generators.pillow import Header, header, resize_label_map
from generators.variant import Method, Variant
from manifests.residual import residual
from manifests.schema import LABEL_MAP_SHA256, Row
from pipelines.generate.encode import EncodeError, encode, encode_label_map
from pipelines.generate.sources import Missing, Sample
from pipelines.generate.sources.cityscapes import IGNORED

Pixels = NDArray[np.uint8]
T = TypeVar("T")


class Failure(NamedTuple):
    """In place of pixels: why there are none, beginning with the token of the method that failed."""

    reason: str


class Rendered(NamedTuple):
    """A row of the manifest and, unless it failed, the encoded image and (for segmentation) label map."""

    row: Row
    image: bytes | None
    label_map: bytes | None = None


class _Output(NamedTuple):
    pixels: Pixels
    frame: Frame


class _Result(NamedTuple):
    known: Header
    output: _Output | Failure


_UNKNOWN = Header(0, 0, 1)


@dataclass(frozen=True)
class Renderer:
    """Renders samples for a set of variants against a reference, which need not be among them."""

    variants: Sequence[Variant]
    reference: Variant
    geometry: str
    size: Size
    image_format: str
    shard: int

    def render(
        self, sample: Sample, data: bytes | Missing, classes: NDArray[np.uint8] | Missing | None = None
    ) -> Iterator[Rendered]:
        """One result for each variant, in order; `classes` is the sample's label map where it has one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries warn of odd files; what matters becomes the row's reason
            if isinstance(classes, Missing):
                yield from self._render(sample, classes, None)
            else:
                yield from self._render(sample, data, classes)

    def _render(self, sample: Sample, data: bytes | Missing, classes: NDArray[np.uint8] | None) -> Iterator[Rendered]:
        outputs = self._outputs(data)
        base = outputs[self.reference.name].output
        encoded: dict[tuple[str, tuple[int, ...]], bytes] = {}
        digest = "" if isinstance(data, Missing) else hashlib.sha256(data).hexdigest()
        for variant in self.variants:
            known, output = outputs[variant.name]
            fields: dict[str, Any] = {
                "key": sample.key,
                "shard": self.shard,
                "label": sample.label,
                "source_path": sample.path,
                "source_sha256": digest,
                "source_width": known.width,
                "source_height": known.height,
                "source_orientation": known.orientation,
                "extra": dict(sample.extra),
            }
            if isinstance(output, Failure):
                yield Rendered(_failed(output.reason, fields), None)
                continue
            pixel_sha256 = hashlib.sha256(output.pixels.data).hexdigest()
            same = pixel_sha256, output.pixels.shape
            try:
                if same not in encoded:  # methods often agree on a sample, down to the last pixel
                    encoded[same] = encode(output.pixels, self.image_format)
            except EncodeError as error:
                yield Rendered(_failed(str(error), fields), None)
                continue
            if classes is None:
                yield Rendered(_ok(output, base, pixel_sha256, fields), encoded[same])
                continue
            try:
                framed = _frame_classes(classes, output.frame)
                label_map = encode_label_map(framed)
            except ValueError as error:
                yield Rendered(_failed(f"source: {error}", fields), None)
                continue
            fields["extra"][LABEL_MAP_SHA256] = hashlib.sha256(framed.data).hexdigest()
            yield Rendered(_ok(output, base, pixel_sha256, fields), encoded[same], label_map)

    def _outputs(self, data: bytes | Missing) -> Mapping[str, _Result]:
        variants = {variant.name: variant for variant in (self.reference, *self.variants)}
        if isinstance(data, Missing):
            return {name: _Result(_UNKNOWN, Failure(data.reason)) for name in variants}
        try:
            known = header(data)
        except DecompressionBombError:
            reason = "refused undecoded: more than 178,956,970 pixels (a decompression bomb?)"
            return {name: _Result(_UNKNOWN, Failure(f"{v.decode.token}: {reason}")) for name, v in variants.items()}
        stages = _Stages(data, self.geometry, self.size)
        return {name: stages.result(variant, known) for name, variant in variants.items()}


class _Stages:
    """The stages of one image, each computed once and kept until the image is done."""

    def __init__(self, data: bytes, geometry: str, size: Size) -> None:
        self._data = data
        self._geometry = geometry
        self._size = size
        self._decoded: dict[Method, Pixels | Failure] = {}
        self._resized: dict[tuple[Method, Method | None], _Output | Failure] = {}

    def result(self, variant: Variant, known: Header | None) -> _Result:
        """A variant's output; a file whose header Pillow cannot read is as large as the variant's decoder says."""
        output = self._output(variant)
        decoded = self._decoded[variant.decode]
        if known is None and not isinstance(decoded, Failure):
            known = Header(decoded.shape[1], decoded.shape[0], 1)
        return _Result(known or _UNKNOWN, output)

    def _output(self, variant: Variant) -> _Output | Failure:
        key = (variant.decode, variant.resize)
        resized = _once(self._resized, key, lambda: self._resize(*key))
        if isinstance(resized, Failure) or variant.color is None:
            return resized
        colored = _attempt(variant.color, lambda method: method.load()(resized.pixels))
        return colored if isinstance(colored, Failure) else _Output(colored, resized.frame)

    def _decode(self, method: Method) -> Pixels | Failure:
        if not self._data:
            return Failure(f"{method.token}: the file is empty")
        return _attempt(method, lambda method: method.load()(self._data))

    def _resize(self, decoder: Method, method: Method | None) -> _Output | Failure:
        decoded = _once(self._decoded, decoder, lambda: self._decode(decoder))
        if isinstance(decoded, Failure):
            return decoded
        height, width = decoded.shape[:2]
        try:
            target = frame(self._geometry, width, height, self._size)
        except ValueError as error:
            return Failure(f"{decoder.token}: {error}")
        if method is None or target.resize is None:
            return _Output(target.cut(decoded), target)
        size = target.resize
        resized = _attempt(method, lambda method: method.load()(decoded, *size))
        return resized if isinstance(resized, Failure) else _Output(target.cut(resized), target)


def _frame_classes(classes: NDArray[np.uint8], target: Frame) -> NDArray[np.uint8]:
    """A label map in the output frame: nearest neighbour, padded with the ignored class."""
    height, width = classes.shape
    if (width, height) != target.source:
        raise ValueError(f"the label map is {width}x{height}, the image {target.source[0]}x{target.source[1]}")
    resized = resize_label_map(classes, *target.resize) if target.resize else classes
    return target.cut(resized, padding=IGNORED)


def _once(cache: dict[Any, T], key: Any, make: Callable[[], T]) -> T:
    if key not in cache:
        cache[key] = make()
    return cache[key]


def _attempt(method: Method, call: Callable[[Method], Pixels]) -> Pixels | Failure:
    try:
        return np.ascontiguousarray(call(method))
    except Exception as error:  # every library has exceptions of its own; any of them is this sample's failure
        return Failure(f"{method.token}: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    """An error's first line without what differs from run to run (addresses in memory)."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _ok(output: _Output, base: _Output | Failure, pixel_sha256: str, fields: Mapping[str, Any]) -> Row:
    compared = None if isinstance(base, Failure) else residual(output.pixels, base.pixels)
    target = output.frame
    return Row(
        **fields,
        status="ok",
        error="",
        width=target.width,
        height=target.height,
        pixel_sha256=pixel_sha256,
        residual_mean_abs=compared.mean_abs if compared else None,
        residual_max_abs=compared.max_abs if compared else None,
        residual_changed=compared.changed if compared else None,
        crop_x=target.crop_x,
        crop_y=target.crop_y,
        scale_x=target.scale_x,
        scale_y=target.scale_y,
    )


def _failed(reason: str, fields: Mapping[str, Any]) -> Row:
    return Row(
        **fields,
        status="failed",
        error=reason,
        width=0,
        height=0,
        pixel_sha256="",
        residual_mean_abs=None,
        residual_max_abs=None,
        residual_changed=None,
        crop_x=0,
        crop_y=0,
        scale_x=0.0,
        scale_y=0.0,
    )
