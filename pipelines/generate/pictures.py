"""From a decoded picture to a variant's output. Where methods agree down to the last pixel, what follows is done once.

Knows no samples and no rows: a stage that fails gives its failure in place of a picture.
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
    """Pixels of a sample, and the frame that they come into."""

    pixels: Pixels
    frame: Frame

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.pixels.data).hexdigest()

    @property
    def same(self) -> Same:
        return self.sha256, self.pixels.shape


# What two pictures have in common that are the same down to the last pixel: the digest and the shape.
Same = tuple[str, tuple[int, ...]]


class Pictures:
    """What becomes of a decoded picture: resized once for each filter, and converted once by each colour method.

    `colored` is what colour methods have made of the sample, whatever it was decoded and resized by.
    """

    def __init__(self, decoded: Picture, caller: Caller, colored: dict[tuple[Method, Same], Pixels | Failure]) -> None:
        self.decoded = decoded
        self._target = decoded.frame
        self._caller = caller
        self._colored = colored
        self._resized: dict[Method | None, Picture | Failure] = {}

    def of(self, variant: Variant) -> Picture | Failure:
        """The output of a variant whose decoder has made this picture, or the same one."""
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
