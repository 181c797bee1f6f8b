"""One source image through many variants: decoded once per decoder, resized once per (decoder, resize).

Where methods agree on a sample, down to the last pixel, what follows them is done once.
Owns what a sample's row says. A library that fails costs the sample in the variants that use it, and nothing else:
the row keeps the reason, which begins with the method's token. Methods on a GPU are called with batches of samples,
before each sample is rendered with what they made; a sample whose batch failed is given to them alone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError

from generators.geometry import MAX_PIXELS, Frame, Size, frame
from generators.pillow import Header, header, resize_label_map
from generators.variant import MAX_BATCH, GpuLostError, Method, Variant
from manifests.residual import Residual, residual
from manifests.schema import LABEL_MAP_SHA256, Row
from pipelines.generate.encode import encode, encode_label_map
from pipelines.generate.sources import Missing, Sample, Segmented, Source
from pipelines.generate.sources.cityscapes import IGNORED

Pixels = NDArray[np.uint8]
# The methods that have made a picture, in stage order.
Chain = tuple[Method, ...]
T = TypeVar("T")


class Failure(NamedTuple):
    """In place of pixels: why there are none, beginning with the token of the method that failed."""

    reason: str


class Rendered(NamedTuple):
    """A row of the manifest and, unless it failed, the encoded image and (for segmentation) label map."""

    row: Row
    image: bytes | None
    label_map: bytes | None = None


class Call(NamedTuple):
    """One library's work on one sample, by the sample's key and the method's token (or the image format)."""

    key: str
    token: str


class Given(NamedTuple):
    """A sample with its bytes and, where the dataset has them, its label map."""

    sample: Sample
    data: bytes | Missing
    classes: NDArray[np.uint8] | Missing | None = None


@dataclass(frozen=True)
class _Output:
    pixels: Pixels
    frame: Frame

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.pixels.data).hexdigest()

    @property
    def same(self) -> _Same:
        return self.sha256, self.pixels.shape


# What two pictures have in common that are the same down to the last pixel: the digest and the shape.
_Same = tuple[str, tuple[int, ...]]


class _Result(NamedTuple):
    known: Header
    output: _Output | Failure


_UNKNOWN, _BOMB = Header(0, 0, 1), Header(-1, -1, 1)
# Pixels that may wait in memory for or from a batch: 201 MB. A larger image is alone.
_WAITING = 2**26
# What OpenCV (cv::Error::StsNoMem), FFmpeg (ENOMEM), C++ libraries and, of a GPU's memory, DALI say where Python would
# raise MemoryError.
_NO_MEMORY = re.compile(
    r"[Ii]nsufficient memory|Cannot allocate memory|bad_alloc"
    r"|Can't allocate \d+ bytes on|CUDA allocation failed|cudaErrorMemoryAllocation"
)


def read(source: Source, samples: Sequence[Sample]) -> Iterator[Given]:
    """Some of a source's samples, in order, as they are given to a renderer."""
    for sample, data in zip(samples, source.read(samples), strict=True):
        yield Given(sample, data, source.label_map(sample) if isinstance(source, Segmented) else None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Libraries warn of odd files; what matters becomes the row's reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Renderer:
    """Renders samples for a set of variants against a reference, which need not be among them.

    A call in `lethal` is not made: it fails with the reason given there. `tell` is told of every other call before it
    is made, and None when it has returned; nothing is done in batches then. SystemExit is raised where a GPU does
    nothing more for this process: whoever started the process can have the work done by another.
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
        """For each sample, in order, a result for each variant, in order.

        One sample is in memory at a time; where a method runs on a GPU, as many as fit into a batch.
        """
        for window in self._windows(map(self._open, given)):
            self._make_in_batches(window)
            for work in window:
                yield self._rendered(work)

    def render(self, sample: Sample, data: bytes | Missing) -> list[Rendered]:
        """The results of a single sample without a label map."""
        return next(self.render_all([Given(sample, data)]))

    @functools.cached_property
    def _batched(self) -> Mapping[Method, Collection[Method]]:
        """The decoders that batches are made by or of, each with the resize methods that run on a GPU."""
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
        caller = _Caller(given.sample.key, self.lethal, self.tell)
        data = given.data
        known = None if isinstance(data, Missing) else caller.attempt("source", lambda: _measure(data))
        return _Work(given, caller, known)

    def _windows(self, works: Iterable[_Work]) -> Iterator[list[_Work]]:
        """The samples in parts that may be in memory together."""
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
        """How many pixels a sample's pictures have that wait for or from a batch."""
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
        """Leave with the samples' callers what a GPU makes of all of them, and the pictures that it was made from."""
        works = [work for work in window if work.size]  # what Pillow cannot measure may not fit into a batch
        for decoder, resizes in self._batched.items():
            if decoder.gpu:
                _make_batch((decoder,), [(work.caller, (work.given.data,)) for work in works])
            if resizes:
                calls = [call for work in works if (call := self._resize_call(decoder, work))]
                for resize in resizes:
                    _make_batch((decoder, resize), calls)

    def _resize_call(self, decoder: Method, work: _Work) -> tuple[_Caller, tuple[Any, ...]] | None:
        """What a resize method is to be called with for a sample; None where there is nothing to resize."""
        assert isinstance(work.given.data, bytes)
        decoded = _decode(decoder, work.given.data, work.caller)
        work.caller.made[decoder,] = decoded
        if isinstance(decoded, Failure):
            return None
        height, width = decoded.shape[:2]
        try:
            size = frame(self.geometry, width, height, self.size).resize
        except ValueError:
            return None
        return (work.caller, (decoded, *size)) if size else None

    @_quiet()
    def _rendered(self, work: _Work) -> list[Rendered]:
        return list(self._render(work))

    def _render(self, work: _Work) -> Iterator[Rendered]:
        sample, data, classes = work.given
        assert not isinstance(classes, Missing)
        results = self._results(work)
        base = results[self.reference.name].output
        encoder = _Encoder(self.image_format, classes, work.caller)
        residuals: dict[_Same, Residual | None] = {}
        digest = "" if isinstance(data, Missing) else hashlib.sha256(data).hexdigest()
        for variant in self.variants:
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
                "extra": dict(sample.extra),
            }
            encoded = output if isinstance(output, Failure) else encoder.encode(output)
            if isinstance(encoded, Failure):
                yield Rendered(Row(**fields, status="failed", error=encoded.reason), None)
                continue
            assert not isinstance(output, Failure)
            if encoded.label_map is not None:
                fields["extra"][LABEL_MAP_SHA256] = encoded.label_map_sha256
            if output.same not in residuals:
                residuals[output.same] = None if isinstance(base, Failure) else residual(output.pixels, base.pixels)
            row = _row(output, residuals[output.same], fields)
            yield Rendered(row, encoded.image, encoded.label_map)

    def _results(self, work: _Work) -> Mapping[str, _Result]:
        variants = {variant.name: variant for variant in (self.reference, *self.variants)}
        data, known = work.given.data, work.known
        if isinstance(data, Missing):
            return {name: _Result(_UNKNOWN, Failure(data.reason)) for name in variants}
        if isinstance(known, Failure):
            return {name: _Result(_UNKNOWN, known) for name in variants}
        if known is _BOMB:
            reason = f"refused undecoded: more than {MAX_PIXELS:,} pixels (a decompression bomb?)"
            return {name: _Result(_UNKNOWN, Failure(f"{v.decode.token}: {reason}")) for name, v in variants.items()}
        return dict(self._made(list(variants.values()), data, known, work.caller))

    def _made(
        self, variants: Sequence[Variant], data: bytes, known: Header | None, caller: _Caller
    ) -> Iterator[tuple[str, _Result]]:
        """The results by variant. A file whose header Pillow cannot read is as large as the decoder says.

        One decoder at a time, so that no more images of full size are in memory than the reference's and another.
        """
        first: _Pictures | None = None
        colored: dict[tuple[Method, _Same], Pixels | Failure] = {}
        for decoder in dict.fromkeys(variant.decode for variant in variants):
            alike = [variant for variant in variants if variant.decode == decoder]
            decoded = _decode(decoder, data, caller)
            if isinstance(decoded, Failure):
                yield from ((variant.name, _Result(known or _UNKNOWN, decoded)) for variant in alike)
                continue
            height, width = decoded.shape[:2]
            size = known or Header(width, height, 1)
            if first and np.array_equal(decoded, first.decoded):
                pictures = first
            else:
                try:
                    target = frame(self.geometry, width, height, self.size)
                except ValueError as error:
                    failure = Failure(f"{decoder.token}: {error}")
                    yield from ((variant.name, _Result(size, failure)) for variant in alike)
                    continue
                pictures = _Pictures(decoded, target, caller, colored)
            first = first or pictures
            yield from ((variant.name, _Result(size, pictures.of(variant))) for variant in alike)


def _measure(data: bytes) -> Header | None:
    """A file's header, None where Pillow cannot read it, and `_BOMB` where it says that the image is too large."""
    try:
        return header(data)
    except DecompressionBombError:
        return _BOMB


class _Caller:
    """Makes the calls into libraries for one sample: whatever goes wrong in one is that call's failure alone.

    `made` is what has been made before it is asked for, by the methods that made it.
    """

    def __init__(self, key: str, lethal: Mapping[Call, str], tell: Callable[[Call | None], None] | None) -> None:
        self._key, self._lethal, self._tell = key, lethal, tell
        self.made: dict[Chain, Pixels | Failure] = {}

    def pixels(self, chain: Chain, call: Callable[[], Pixels]) -> Pixels | Failure:
        """What the last method of a chain makes of what the others have made."""
        if chain in self.made:
            return self.made.pop(chain)  # nobody asks twice
        made = self.attempt(chain[-1].token, call)
        return made if isinstance(made, Failure) else np.ascontiguousarray(made)

    def attempt(self, token: str, call: Callable[[], T]) -> T | Failure:
        """What the call returns. Raises MemoryError: a machine that is too small is not the sample's fault."""
        if reason := self.forbidden(token):
            return Failure(f"{token}: {reason}")
        if self._tell:
            self._tell(Call(self._key, token))
        try:
            return call()
        except GpuLostError as error:
            raise SystemExit(f"{token}: {error}") from error
        except Exception as error:  # every library has exceptions of its own; any of them is this sample's failure
            reason = _one_line(error)
            if isinstance(error, MemoryError) or _NO_MEMORY.search(reason):
                raise MemoryError(f"{token}: {reason}") from error
            return Failure(f"{token}: {reason}")
        finally:
            if self._tell:
                self._tell(None)

    def forbidden(self, token: str) -> str | None:
        """Why a method is not to be called for this sample; None if it may be."""
        return self._lethal.get(Call(self._key, token))


@dataclass(frozen=True)
class _Work:
    """A sample while it is rendered: what was given, what makes its calls, and what its header says."""

    given: Given
    caller: _Caller
    known: Header | Failure | None

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height, where the header says them and the image is not refused."""
        if not isinstance(self.known, Header) or self.known is _BOMB or not self.known.width * self.known.height:
            return None
        return self.known.width, self.known.height


def _make_batch(chain: Chain, calls: Iterable[tuple[_Caller, tuple[Any, ...]]]) -> None:
    """Call the last method of a chain once for several samples; where that fails for one, nothing is made for any."""
    method = chain[-1]
    allowed = [(caller, arguments) for caller, arguments in calls if not caller.forbidden(method.token)]
    if not allowed:
        return
    try:
        made = method.load_batch()([arguments for _, arguments in allowed])
    except GpuLostError as error:
        raise SystemExit(f"{method.token}: {error}") from error
    except Exception:  # of one sample, or all of them are too many at once: each is tried by itself when it is rendered
        return
    for (caller, _), pixels in zip(allowed, made, strict=True):
        caller.made[chain] = np.ascontiguousarray(pixels)


def _decode(method: Method, data: bytes, caller: _Caller) -> Pixels | Failure:
    if not data:
        return Failure(f"{method.token}: the file is empty")
    return caller.pixels((method,), lambda: method.load()(data))


class _Pictures:
    """What becomes of a decoded picture: resized once for each filter, and converted once by each colour method.

    `colored` is what colour methods have made of the sample, whatever it was decoded and resized by.
    """

    def __init__(
        self, decoded: Pixels, target: Frame, caller: _Caller, colored: dict[tuple[Method, _Same], Pixels | Failure]
    ) -> None:
        self.decoded = decoded
        self._target = target
        self._caller = caller
        self._colored = colored
        self._resized: dict[Method | None, _Output | Failure] = {}

    def of(self, variant: Variant) -> _Output | Failure:
        """The output of a variant whose decoder has made this picture, or the same one."""
        if variant.resize not in self._resized:
            self._resized[variant.resize] = self._output(self._resize(variant))
        resized = self._resized[variant.resize]
        if variant.color is None or isinstance(resized, Failure):
            return resized
        return self._output(self._convert(variant, variant.color, resized))

    def _output(self, pixels: Pixels | Failure) -> _Output | Failure:
        return pixels if isinstance(pixels, Failure) else _Output(pixels, self._target)

    def _resize(self, variant: Variant) -> Pixels | Failure:
        method, target = variant.resize, self._target
        if method is None or target.resize is None:
            return target.cut(self.decoded)
        call = functools.partial(method.load(), self.decoded, *target.resize)
        resized = self._caller.pixels((variant.decode, method), call)
        return resized if isinstance(resized, Failure) else target.cut(resized)

    def _convert(self, variant: Variant, method: Method, resized: _Output) -> Pixels | Failure:
        key = method, resized.same
        if key not in self._colored:
            call = functools.partial(method.load(), resized.pixels)
            self._colored[key] = self._caller.pixels(variant.methods, call)
        return self._colored[key]


class _Encoded(NamedTuple):
    image: bytes
    label_map: bytes | None
    label_map_sha256: str


class _Encoder:
    """Encodes one sample's outputs, each picture once: methods often agree, down to the last pixel."""

    def __init__(self, image_format: str, classes: NDArray[np.uint8] | None, caller: _Caller) -> None:
        self._format = image_format
        self._caller = caller
        self._classes = classes
        self._images: dict[_Same, bytes] = {}
        self._label_maps: dict[Frame, tuple[bytes, str]] = {}

    def encode(self, output: _Output) -> _Encoded | Failure:
        if output.same not in self._images:
            encoded = self._caller.attempt(self._format, lambda: encode(output.pixels, self._format))
            if isinstance(encoded, Failure):
                return encoded
            self._images[output.same] = encoded
        try:
            label_map = None if self._classes is None else self._label_map(self._classes, output.frame)
        except ValueError as error:
            return Failure(str(error))
        return _Encoded(self._images[output.same], *(label_map or (None, "")))

    def _label_map(self, classes: NDArray[np.uint8], target: Frame) -> tuple[bytes, str]:
        if target not in self._label_maps:
            framed = _frame_classes(classes, target)
            self._label_maps[target] = encode_label_map(framed), hashlib.sha256(framed.data).hexdigest()
        return self._label_maps[target]


def _frame_classes(classes: NDArray[np.uint8], target: Frame) -> NDArray[np.uint8]:
    """A label map in the output frame: nearest neighbour, padded with the ignored class."""
    height, width = classes.shape
    if (width, height) != target.source:
        raise ValueError(f"source: the label map is {width}x{height}, the image {target.source[0]}x{target.source[1]}")
    resized = resize_label_map(classes, *target.resize) if target.resize else classes
    return target.cut(resized, padding=IGNORED)


def _one_line(error: Exception) -> str:
    """An error's first line without what differs from run to run (addresses in memory)."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _row(output: _Output, compared: Residual | None, fields: Mapping[str, Any]) -> Row:
    target = output.frame
    return Row(
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
