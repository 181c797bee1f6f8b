"""From a decoded picture to a variant's output. If methods agree in every pixel, the work that follows is done once.

Knows neither samples nor rows: a stage that fails returns its failure instead of a picture.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

from generators.geometry import Frame
from generators.registry import Method
from generators.variant import Variant
from pipelines.generate.calls import Caller, Failure, Pixels


@dataclass(frozen=True)
class Picture:
    """A sample's pixels, and the frame that they are put into."""

    pixels: Pixels
    frame: Frame

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.pixels.data).hexdigest()

    @property
    def same(self) -> Same:
        return self.sha256, self.pixels.shape


# Identifies pictures that agree in every pixel: digest and shape.
Same = tuple[str, tuple[int, ...]]


class Pictures:
    """Everything made from a decoded picture: resized once by each filter, and converted once by each colour method.

    `colored` caches colour conversions of the sample, across decoders and resize methods.
    """

    def __init__(self, decoded: Picture, caller: Caller, colored: dict[tuple[Method, Same], Pixels | Failure]) -> None:
        self.decoded = decoded
        self._target = decoded.frame
        self._caller = caller
        self._colored = colored
        self._resized: dict[Method | None, Picture | Failure] = {}

    def of(self, variant: Variant) -> Picture | Failure:
        """The output of a variant whose decoder made this picture, or an identical one."""
        if variant.resize not in self._resized:
            self._resized[variant.resize] = self._output(self._resize(variant))
        resized = self._resized[variant.resize]
        if variant.color is None or isinstance(resized, Failure):
            return resized
        return self._output(self._convert(variant, variant.color, resized))

    def _output(self, pixels: Pixels | Failure) -> Picture | Failure:
        return pixels if isinstance(pixels, Failure) else Picture(pixels, self._target)

    def _resize(self, variant: Variant) -> Pixels | Failure:
        method, target = variant.resize, self._target
        if method is None or target.resize is None or method.whole:
            return target.cut(self.decoded.pixels)
        call = functools.partial(method.load(), self.decoded.pixels, *target.resize)
        resized = self._caller.pixels((variant.decode, method), call)
        return resized if isinstance(resized, Failure) else target.cut(resized)

    def _convert(self, variant: Variant, method: Method, resized: Picture) -> Pixels | Failure:
        key = method, resized.same
        if key not in self._colored:
            call = functools.partial(method.load(), resized.pixels)
            self._colored[key] = self._caller.pixels(variant.methods, call)
        return self._colored[key]
