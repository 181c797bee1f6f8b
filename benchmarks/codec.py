"""Compares lossless formats and encoders for shards.

    python -m benchmarks.codec [--source TREE]

For 224x224 crops and for 800x1333 pictures: milliseconds of processor time to encode, to check what was encoded (fpng's
output as the project checks it, others by decoding), and to decode with OpenCV and with Pillow; and the size relative
to raw pixels. Below: which readers get the same pixels from each format. `datasets` reads images with Pillow, and
`.npy` with NumPy.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import importlib
import io
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import running
from generators.geometry import frame
from generators.pixels import opencv
from generators.registry import METHODS
from manifests.png import read
from manifests.verify import decode
from pipelines.generate import encode, png
from pipelines.text import table

Pixels = NDArray[np.uint8]
Encoder = Callable[[Pixels], bytes]
Reader = Callable[[bytes], Pixels]


def main() -> None:
    """Measure, and print three tables."""
    measure(running.photographs(running.parser("Lossless formats.").parse_args().source))


def measure(files: Sequence[bytes]) -> None:
    """Print three tables."""
    images = [METHODS["pil"].load()(data) for data in files]
    for title, geometry, size, some in (
        ("224x224", "crop", (224,), images),
        ("800x1333", "keep_ratio", (800, 1333), images[:40]),
    ):
        pictures = [_resized(image, geometry, size) for image in some]
        rows: list[Sequence[str]] = [
            (f"{title}, ms", "encode", "check", "decode with OpenCV", "with Pillow", "with score.py", "size / raw")
        ]
        rows += [(name, *_figures(encoder, pictures)) for name, encoder in _ENCODERS.items()]
        print(table(rows, frozenset(range(1, 7))), end="\n\n")
    print(_readers(_resized(images[0], "crop", (224,))))


def _resized(image: Pixels, geometry: str, size: tuple[int, ...]) -> Pixels:
    target = frame(geometry, image.shape[1], image.shape[0], size)
    assert target.resize
    return target.cut(METHODS["pil_bilinear"].load()(image, *target.resize))


def _figures(encoder: Encoder, pictures: Sequence[Pixels]) -> tuple[str, ...]:
    written, encoding = _timed(encoder, pictures)
    reader, name = (_npy, " with NumPy") if encoder is encode._npy else (opencv.decode, "")
    decoded, decoding = _timed(reader, written)
    if not all(map(np.array_equal, decoded, pictures)):
        raise SystemExit("an encoder is not lossless")
    proof = _timed(lambda pair: png.is_proven(*pair), list(zip(written, pictures, strict=True)))[1]
    checking = f"{proof:.2f}" if encoder in (png.write, png.write_stored) else "decode"
    by_pillow = "–" if encoder is encode._npy else f"{_timed(_pillow, written)[1]:.2f}"
    ours = "–" if read(written[0]) is None else f"{_timed(read, written)[1]:.2f}"
    ratio = sum(map(len, written)) / sum(picture.size for picture in pictures)
    return f"{encoding:.2f}", checking, f"{decoding:.2f}{name}", by_pillow, ours, f"{ratio:.2f}"


A = TypeVar("A")
B = TypeVar("B")


def _timed(call: Callable[[A], B], arguments: Sequence[A]) -> tuple[list[B], float]:
    """The results of the calls, and milliseconds of processor time for each."""
    call(arguments[0])
    began = time.process_time()
    results = [call(argument) for argument in arguments]
    return results, (time.process_time() - began) / len(arguments) * 1e3


def _by_opencv(image: Pixels, *options: int) -> bytes:
    return bytes(cv2.imencode(".png", image[..., ::-1], [*_LEVEL, *options])[1])


def _by_pillow(image: Pixels, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


_LEVEL = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_RLE = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
_HUFFMAN = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
_UP = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
_SUB = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
_ENCODERS: dict[str, Encoder] = {
    "fpng (the default)": png.write,
    "PNG, not compressed": png.write_stored,
    "OpenCV PNG, level 1, RLE, SUB": lambda image: _by_opencv(image, *_RLE, *_SUB),
    "OpenCV PNG, level 1, RLE": lambda image: _by_opencv(image, *_RLE),
    "OpenCV PNG, level 1, Huffman, UP": lambda image: _by_opencv(image, *_HUFFMAN, *_UP),
    "OpenCV PNG, level 0": lambda image: _by_opencv(image, cv2.IMWRITE_PNG_COMPRESSION, 0),
    "Pillow PNG, level 1": lambda image: _by_pillow(image, "PNG", compress_level=1),
    "Pillow PNG, level 6": lambda image: _by_pillow(image, "PNG", compress_level=6),
    "Pillow WebP, lossless": encode._webp,
    "PPM": lambda image: _by_pillow(image, "PPM"),
    "npy": encode._npy,
}


_npy = functools.partial(decode, image_format="npy")


def _pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _torchvision(data: bytes) -> Pixels:
    torch, images = importlib.import_module("torch"), importlib.import_module("torchvision.io")
    decoded = images.decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return np.asarray(decoded.permute(1, 2, 0).numpy(), np.uint8)


def _readers(image: Pixels) -> str:
    """A table of which readers get the same pixels from each format."""
    written = {
        "png": png.write(image),
        "png_stored": png.write_stored(image),
        "webp": encode._webp(image),
        "npy": encode._npy(image),
    }
    written["ppm"] = _ENCODERS["PPM"](image)
    readers: dict[str, Reader] = {
        "Pillow, `datasets`": _pillow,
        "OpenCV": opencv.decode,
        "DALI": METHODS["dali"].load(),
        "NumPy": _npy,
    }
    with contextlib.suppress(ImportError, RuntimeError):  # RuntimeError: a build that does not match PyTorch's
        importlib.import_module("torchvision.io")
        readers["torchvision"] = _torchvision
    if driver := shutil.which("chromedriver"):
        readers["Chromium"] = functools.partial(_chromium, driver)
    rows = [("reads", *written)]
    for name, reader in readers.items():
        rows.append((name, *("yes" if _reads(reader, data, image) else "no" for data in written.values())))
    return table(rows)


def _reads(reader: Reader, data: bytes, image: Pixels) -> bool:
    try:
        return np.array_equal(reader(data), image)
    except Exception:  # each reader has its own errors
        return False


_SCRIPT = """
const [address, done] = arguments, image = new Image();
image.onerror = () => done(null);
image.onload = () => {
  const canvas = new OffscreenCanvas(image.width, image.height), context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  done(Array.from(context.getImageData(0, 0, image.width, image.height).data));
};
image.src = address;
"""


def _chromium(program: str, data: bytes) -> Pixels:
    """A square image as decoded by a page."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for option in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        "force-color-profile=srgb",
    ):
        options.add_argument(f"--{option}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(program))
    try:
        address = f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"
        found = np.array(driver.execute_async_script(_SCRIPT, address), np.uint8)
    finally:
        driver.quit()
    side = int((found.size / 4) ** 0.5)
    return found.reshape(side, side, 4)[..., :3]


if __name__ == "__main__":
    main()
