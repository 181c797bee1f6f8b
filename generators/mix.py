"""Mix training: decodes and resizes each image by methods that are drawn at random for it.

The draw is a pure function of seed, epoch and key (`draw`): it is the same on every machine and in every data loader
worker, whatever was drawn before. The pixels are exactly those of the methods themselves. A box is cropped from the
decoded image before the resize, as in torchvision's RandomResizedCrop, so that no filter sees pixels outside the box;
with Pillow's `Image.resize(box=…)` it would.

Refuses methods of other stages, and methods for which the box would no longer fit the image that it was drawn for:
decoders that shrink or rotate the image, and methods that decode and resize in one step. Methods that need a GPU are
refused too, since data loader workers have none. A group stands for those of its methods that remain and can run here:
if several machines must draw alike, name the tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from operator import index
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from generators.draw import numbers
from generators.geometry import Box, BoxError
from generators.registry import Image, LostError, Method, Release, Stage, UnavailableError
from generators.selection import of_stage
from generators.variant import WITH, VariantError, is_group

__all__ = ["Box", "Drawn", "Mix"]

Call = Callable[..., Image]
# By library and function of the decoder and of the resize method: the function that does both without an array between.
_IN_ONE = {("Pillow", "decode", "Pillow", "resize"): "decode_and_resize"}


class Drawn(NamedTuple):
    """The tokens of the methods that were drawn."""

    decode: str
    resize: str


class Mix:
    """Turns encoded images into pixels, by methods that are drawn for each image and epoch.

    `decode` and `resize` take tokens (a version is allowed) and groups, as `--variant` does; as attributes they are the
    tokens of all methods that may be drawn. A missing library is installed if possible. Each method of a stage is drawn
    equally often, even if it is named twice; draws depend on the order in which methods are named. With one method for
    each stage there is nothing to draw; the defaults are the reference's methods.

    Instances can be pickled. Their only state is the libraries, which start in each process when they are first drawn.
    Raises VariantError, with a one-line message.
    """

    def __init__(
        self, decode: str | Iterable[str] = "pil", resize: str | Iterable[str] = "pil_bilinear", seed: int = 0
    ) -> None:
        decoders, resizes = _methods("decode", decode), _methods("resize", resize)
        self.decode, self.resize = (tuple(method.token for method in methods) for methods in (decoders, resizes))
        self.seed = seed
        # Everything is looked up here, since a call must not take more than a millisecond.
        self._calls = {method.token: method.load() for method in (*decoders, *resizes)}
        both = ((Drawn(one.token, other.token), _in_one(one, other)) for one in decoders for other in resizes)
        self._in_one = {drawn: call for drawn, call in both if call}

    def __repr__(self) -> str:
        return f"Mix(decode={self.decode}, resize={self.resize}, seed={self.seed})"

    def draw(self, key: str, epoch: int = 0) -> Drawn:
        """The methods that decode and resize an image in an epoch."""
        number = numbers(self.seed, key, epoch)
        decode, resize = number["decode"] % len(self.decode), number["resize"] % len(self.resize)
        return Drawn(self.decode[decode], self.resize[resize])

    def __call__(
        self, data: bytes, size: int | tuple[int, int], *, key: str, epoch: int = 0, box: Box | None = None
    ) -> NDArray[np.uint8]:
        """The pixels of an encoded image: a contiguous, writable RGB array of shape (height, width, 3).

        `size` is (width, height), in Pillow's order, or the side of a square; `key` identifies the image; `box` is the
        part of it to resize, by default all of it. Raises ValueError, which names the key and the method that failed,
        or the box if it does not fit into the image; TypeError for a size or a box that is not of whole numbers; and
        what `Method.load` raises for libraries in other processes.
        """
        if box is not None and not isinstance(box, Box):
            raise TypeError(f"box is {box!r}: write Box(top=…, left=…, height=…, width=…)")
        box = box and Box(*map(index, box))
        width, height = map(index, (size, size) if isinstance(size, int | np.integer) else size)
        if width < 1 or height < 1:
            raise ValueError(f"{key}: cannot resize to {width}x{height}: both sides must be at least 1")
        if not data:
            raise ValueError(f"{key}: the file is empty")
        made = self._made(self.draw(key, epoch), data, box, width, height, key)
        return made if made.flags.writeable and made.flags.c_contiguous else made.copy()

    def _made(self, drawn: Drawn, data: bytes, box: Box | None, width: int, height: int, key: str) -> Image:
        working = drawn.decode
        try:
            if call := self._in_one.get(drawn):
                return call(data, box, width, height)
            image = self._calls[drawn.decode](data)
            if box:
                image = image[box.within(image.shape[1], image.shape[0])]
            working = drawn.resize
            return self._calls[drawn.resize](image, width, height)
        except (LostError, UnavailableError, MemoryError):
            raise
        except BoxError as error:
            raise ValueError(f"{key}: {error}") from None
        except Exception as error:  # every library has exceptions of its own
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ValueError(f"{key}: {working}: {reason.strip()}") from error


def _in_one(decode: Method, resize: Method) -> Call | None:
    """A function that decodes, crops and resizes in one call, if both methods are of one library that has it."""
    name = _IN_ONE.get((decode.library.name, decode.function, resize.library.name, resize.function))
    return functools.partial(decode.library.function(name), **resize.options) if name else None


def _methods(stage: Stage, words: str | Iterable[str]) -> Sequence[Method]:
    """The methods of a stage that the words stand for, with their libraries installed. Raises VariantError."""
    parts = [part.strip() for word in ([words] if isinstance(words, str) else words) for part in word.split(",")]
    found: dict[str, Method] = {}
    for part in parts:
        for method in of_stage(part, stage):
            problem = _unsuited(method) or method.problem() or _absent(method, part)
            if not problem:
                found[method.token] = method
            elif not is_group(part):
                raise VariantError(f"{method.token} cannot be mixed: {problem}")
    if not found:
        raise VariantError(f"{stage} has nothing to draw from: {', '.join(parts) or 'no method was named'}")
    for method in found.values():
        _prepare(method)
    return list(found.values())


def _unsuited(method: Method) -> str | None:
    """Why a method cannot take any box of any image in a data loader worker; None if it can."""
    if method.gpu:
        return f"it needs a GPU: use {method.instead}"
    if method.whole:
        return "it decodes and resizes in one step, so no box can be cropped in between"
    if method.shrinks:
        return "it shrinks the image that a box is drawn for"
    if method.options.get("exif"):
        return "it rotates the image that a box is drawn for"
    return None


def _absent(method: Method, word: str) -> str | None:
    """Why a method is left out of a group: its library is not installed yet, and the group is not the library's own."""
    library = method.library
    asked = not isinstance(library, Release) or not library.pinned or word.partition(WITH)[0] == library.group
    return None if asked or not is_group(word) or library.ready else f"{library.name} is not installed here"


def _prepare(method: Method) -> None:
    if isinstance(method.library, Release):
        try:
            method.library.prepare()
        except UnavailableError as error:
            raise VariantError(f"{method.token} cannot run here: {error}") from None
