"""Mix training: each image by a decoder and a resize method that are drawn for it, from encoded bytes to pixels.

Owns the draw, which is a pure function of seed, epoch and key: the same on every machine and in every worker of a
loader, whatever was drawn before. The pixels are the methods' own. A box is cut out of the decoded image and then
resized, as torchvision's RandomResizedCrop does it: at its edges no filter sees what is outside of it, which it would
with Pillow's `Image.resize(box=…)`.

Refuses what is no method of the two stages, and methods that give a box other pixels than those that it was drawn
for: decoders that shrink or turn the image, and what decodes and resizes in one. Those that need a GPU are refused as
well, which the workers of a loader do not have. A group stands for what is left of it and can run here: where several
machines are to draw alike, name the tokens.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from generators.geometry import Box
from generators.registry import Image, LostError, Method, Release, Stage, UnavailableError
from generators.variant import WITH, VariantError, is_group, of_stage

__all__ = ["Box", "Drawn", "Mix"]

Call = Callable[..., Image]
# By libraries and functions of a decoder and a resize method: what does the work of both with no array between them.
_IN_ONE = {("Pillow", "decode", "Pillow", "resize"): "decode_and_resize"}


class Drawn(NamedTuple):
    """The tokens of the methods that were drawn."""

    decode: str
    resize: str


class Mix:
    """Encoded images to pixels, by methods that are drawn anew for each image in each epoch.

    `decode` and `resize` are tokens, with versions perhaps, and groups, as `--variant` takes them; as attributes, they
    are the tokens of all that may be drawn. A library that is not there is installed, if it can be. Each method is
    drawn as often as any other of its stage, however often it is named; draws depend on the order in which methods are
    named. With one method for each stage nothing is left to be drawn, and by default these are the reference's.

    It can be pickled, and has no state but for libraries, which start in each process when they are first drawn.
    Raises VariantError, in one line.
    """

    def __init__(
        self, decode: str | Iterable[str] = "pil", resize: str | Iterable[str] = "pil_bilinear", seed: int = 0
    ) -> None:
        decoders, resizes = _methods("decode", decode), _methods("resize", resize)
        self.decode, self.resize = (tuple(method.token for method in methods) for methods in (decoders, resizes))
        self.seed = seed
        # All that can be asked of a registry is asked here: a call may take no more than a millisecond.
        self._calls = {method.token: method.load() for method in (*decoders, *resizes)}
        both = ((Drawn(one.token, other.token), _in_one(one, other)) for one in decoders for other in resizes)
        self._in_one = {drawn: call for drawn, call in both if call}

    def __repr__(self) -> str:
        return f"Mix(decode={self.decode}, resize={self.resize}, seed={self.seed})"

    def draw(self, key: str, epoch: int = 0) -> Drawn:
        """The methods that an image is decoded and resized by in an epoch."""
        # Both numbers are far larger than what they are divided by, so that no method is drawn more than another.
        digest = hashlib.sha256(f"{self.seed}/{epoch}/{key}".encode()).digest()
        first, second = int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:], "big")
        return Drawn(self.decode[first % len(self.decode)], self.resize[second % len(self.resize)])

    def __call__(
        self, data: bytes, size: int | tuple[int, int], *, key: str, epoch: int = 0, box: Box | None = None
    ) -> NDArray[np.uint8]:
        """The pixels of an encoded image: RGB of shape (height, width, 3), contiguous, to be written to if one likes.

        `size` is (width, height), in Pillow's order, or the side of a square; `key` names the image; `box` is what is
        resized of it, or else it is all of it. Raises ValueError, with the key and the method that failed on it, and
        what `Method.load` says of libraries in processes of their own.
        """
        if box is not None and not isinstance(box, Box):
            raise TypeError(f"box is {box!r}: write Box(top=…, left=…, height=…, width=…)")
        width, height = (size, size) if isinstance(size, int) else size
        if width < 1 or height < 1:
            raise ValueError(f"{key}: {width}x{height} is no size to be resized to")
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
        except Exception as error:  # every library has exceptions of its own
            said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ValueError(f"{key}: {working}: {said.strip()}") from error


def _in_one(decode: Method, resize: Method) -> Call | None:
    """What decodes, cuts out a box and resizes it in one call, where the library of both has that."""
    name = _IN_ONE.get((decode.library.name, decode.function, resize.library.name, resize.function))
    return functools.partial(decode.library.function(name), **resize.options) if name else None


def _methods(stage: Stage, words: str | Iterable[str]) -> Sequence[Method]:
    """The methods of a stage that words stand for, with their libraries at hand. Raises VariantError."""
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
    """Why a method cannot be given any box of any image, by a worker of a loader; None if it can."""
    if method.gpu:
        return f"it needs a GPU: use {method.instead}"
    if method.whole:
        return "it decodes and resizes in one, so that no box can be cut out in between"
    if method.shrinks:
        return "it shrinks the image that a box is drawn for"
    if method.options.get("exif"):
        return "it turns the image that a box is drawn for"
    return None


def _absent(method: Method, word: str) -> str | None:
    """Why a method is left out of a group that does not ask for its library, which is yet to be installed."""
    library = method.library
    asked = not isinstance(library, Release) or not library.pinned or word.partition(WITH)[0] == library.group
    return None if asked or not is_group(word) or library.ready else f"{library.name} is not installed here"


def _prepare(method: Method) -> None:
    if isinstance(method.library, Release):
        try:
            method.library.prepare()
        except UnavailableError as error:
            raise VariantError(f"{method.token} cannot run here: {error}") from None
