"""A learned codec as a decoder (the paper's Table 9): a JPEG in, its pixels as reconstructed by the codec out.

    python generate.py --variant learned --method "learned=decode:.venv/bin/python examples/learned_codec.py codec.onnx"

Pillow decodes the JPEG, and its pixels go through the codec's encoder, rounded latents and decoder, as if the image had
been stored by the codec. Reads an encoded image from stdin and writes a binary PPM to stdout. It needs nothing else of
this project but `codec.onnx`, which `examples/train_codec.py` makes. Any other codec fits as well: an ONNX model that
takes RGB from 0 to 1, float32 (1, 3, height, width) with sides that STRIDE divides, and whose first output is an image
of the same form.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

# Pixels for each latent along each axis.
STRIDE = 8


def session(path: str) -> onnxruntime.InferenceSession:
    """A codec on one thread, since generate.py runs a program on each CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def recoded(codec: onnxruntime.InferenceSession, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The codec's reconstruction of an image, RGB uint8 (height, width, 3), which is padded to STRIDE meanwhile."""
    height, width, _ = pixels.shape
    padded = np.pad(pixels, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), "edge")
    inputs = padded.transpose(2, 0, 1)[None].astype(np.float32) / 255
    (found,) = codec.run([codec.get_outputs()[0].name], {codec.get_inputs()[0].name: inputs})
    levels: NDArray[np.uint8] = np.rint(255 * found[0].transpose(1, 2, 0).clip(0, 1)).astype(np.uint8)
    return levels[:height, :width]


def main() -> None:
    """Write the reconstruction of stdin's image to stdout."""
    if len(sys.argv) != 2:
        sys.exit("give the codec's ONNX file: learned_codec.py codec.onnx <image.jpg >image.ppm")
    try:
        with Image.open(sys.stdin.buffer) as image:
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # a damaged file; the message is left out, since it may contain a memory address
        sys.exit(f"Pillow cannot decode it ({type(error).__name__})")
    Image.fromarray(recoded(session(sys.argv[1]), pixels)).save(sys.stdout.buffer, "PPM")


if __name__ == "__main__":
    main()
