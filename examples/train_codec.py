"""Trains a small learned codec for `examples/learned_codec.py`: a convolutional autoencoder with rounded latents.

    python -m examples.train_codec --output codec.onnx

A simpler form of Ballé et al., *End-to-end Optimized Image Compression* (ICLR 2017): three convolutions with a stride
of 2 and three transposed ones, uniform noise in place of rounding, and a loss of bits and squared error. The bits are
estimated by a logistic distribution for each channel of latents; no bitstream is written. A linear transform of blocks
is added to the convolutions. It starts as the blocks' principal components, so that a minute of training is enough.

It is trained on patches of seven of the nine built-in photographs, and evaluated on the other two. It demonstrates how
to test a codec; nobody would deploy it. Needs PyTorch.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

from examples.learned_codec import STRIDE, recoded, session
from pipelines.command import Parser, exit_status, option, options_of, positive, whole
from pipelines.errors import UsageError
from pipelines.evaluate.model.named.pytorch import Needs, required
from pipelines.files import replacing
from pipelines.generate.sources import SampleSource
from pipelines.progress import counted

Image8 = NDArray[np.uint8]

# Channels between the convolutions, and channels of the latents, which have a value for each block of STRIDE by STRIDE.
FEATURES, LATENTS = 32, 48
SLOPE = 0.2
# The side of a patch in pixels, and the number of patches in a training step.
PATCH, BATCH = 64, 8
RATE = 0.002
# Initial levels of a latent between black and white.
LEVELS = 8
# Photographs held out for evaluation.
HELD_OUT = 2
# The first opset with all operators that are used.
_OPSET = 13
_NEEDS = Needs("training a codec", "pip install -r requirements-timm.txt")


def _worth(text: str) -> float:
    """The weight of the squared error. NaN is refused: it would make every weight of the codec NaN."""
    try:
        worth = float(text)
    except ValueError:
        worth = math.nan
    if not 0 < worth < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return worth


@dataclass(frozen=True)
class Options:
    """What to train, and for how long."""

    output: Path = option("default: %(default)s", default=Path("codec.onnx"), metavar="FILE")
    worth: float = option(
        "bits per pixel for a squared error of 1 (of 255 levels); default: %(default)s",
        default=0.005,
        type=_worth,
        metavar="X",
    )
    steps: int = option("default: %(default)s", default=1000, type=positive, metavar="N")
    seed: int = option("of weights and patches; default: %(default)s", default=0, type=whole, metavar="N")


class Codec:
    """An encoder and a decoder, each the sum of a linear transform of blocks and three convolutions, and a prior.

    Images are float, (N, 3, height, width), 0 to 1.
    """

    def __init__(self, images: Sequence[Image8], random: np.random.Generator) -> None:
        torch = required("torch", _NEEDS)
        nn = torch.nn
        sizes = (3, FEATURES, FEATURES, LATENTS)
        down = [nn.Conv2d(a, b, 5, 2, 2) for a, b in pairwise(sizes)]
        up = [nn.ConvTranspose2d(a, b, 5, 2, 2, 1) for a, b in pairwise(sizes[::-1])]
        self.encoder = (nn.Sequential(nn.Conv2d(3, LATENTS, STRIDE, STRIDE)), _with_activations(down))
        self.decoder = (nn.Sequential(nn.ConvTranspose2d(LATENTS, 3, STRIDE, STRIDE)), _with_activations(up))
        mean, components = _principal(images, random)
        with torch.no_grad():
            for convolution in (*down, *up):
                nn.init.kaiming_normal_(convolution.weight, SLOPE)
            self.encoder[0][0].weight.copy_(LEVELS * components)
            self.encoder[0][0].bias.copy_(-LEVELS * (components * mean).sum((1, 2, 3)))
            self.decoder[0][0].weight.copy_(components / LEVELS)
            self.decoder[0][0].bias.copy_(mean.mean((1, 2)))
            for last in (self.encoder[1][-1], self.decoder[1][-1]):
                nn.init.zeros_(last.weight)  # so that training starts from the linear transform
                nn.init.zeros_(last.bias)
        self.prior = torch.zeros(2, 1, LATENTS, 1, 1, requires_grad=True)  # means, and logarithms of scales

    def weights(self) -> list[Any]:
        """All trained parameters except the prior."""
        return [weight for chain in (*self.encoder, *self.decoder) for weight in chain.parameters()]

    def encode(self, images: Any) -> Any:
        """Latents, (N, LATENTS, height / STRIDE, width / STRIDE), before they are rounded."""
        return sum(chain(images) for chain in self.encoder)

    def decode(self, latents: Any) -> Any:
        """Images of latents, (N, 3, height, width)."""
        return sum(chain(latents) for chain in self.decoder)

    def bits(self, latents: Any) -> Any:
        """The bits that an ideal entropy coder would need for latents, rounded or with noise."""
        mean, scale = self.prior[0], self.prior[1].exp()
        share = ((latents + 0.5 - mean) / scale).sigmoid() - ((latents - 0.5 - mean) / scale).sigmoid()
        return -share.clamp_min(1e-9).log2().sum()


def _with_activations(convolutions: Sequence[Any]) -> Any:
    """Convolutions with a LeakyReLU between them."""
    nn = required("torch", _NEEDS).nn
    first, *others = convolutions
    return nn.Sequential(first, *(module for each in others for module in (nn.LeakyReLU(SLOPE), each)))


def _principal(images: Sequence[Image8], random: np.random.Generator) -> tuple[Any, Any]:
    """The mean block of images, (3, STRIDE, STRIDE), and its LATENTS principal components."""
    blocks = np.stack(list(_patches(images, STRIDE, 8000, random))).transpose(0, 3, 1, 2).reshape(8000, -1) / 255
    mean = blocks.mean(0)
    _, vectors = np.linalg.eigh(np.cov(blocks.T))
    shape = (-1, 3, STRIDE, STRIDE)
    found = mean.reshape(shape[1:]), vectors.T[::-1][:LATENTS].reshape(shape).copy()
    mean_block, components = (required("torch", _NEEDS).from_numpy(array).float() for array in found)
    return mean_block, components


def _patches(images: Sequence[Image8], side: int, count: int, random: np.random.Generator) -> Iterator[Image8]:
    for _ in range(count):
        image = images[int(random.integers(len(images)))]
        top, left = (int(random.integers(length - side + 1)) for length in image.shape[:2])
        yield image[top : top + side, left : left + side]


def train(images: Sequence[Image8], options: Options) -> Codec:
    """A codec trained on patches of images, RGB uint8 (height, width, 3)."""
    torch = required("torch", _NEEDS)
    torch.manual_seed(options.seed)
    random = np.random.default_rng(options.seed)
    codec = Codec(images, random)
    rates = [RATE, 10 * RATE]  # the prior has further to go
    groups = [{"params": codec.weights()}, {"params": [codec.prior]}]
    optimizer = torch.optim.Adam(groups, RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=options.steps)
    with counted(options.steps, "step", "steps trained") as advance:
        for _ in range(options.steps):
            patches = np.stack(list(_patches(images, PATCH, BATCH, random)))
            inputs = torch.from_numpy(patches).permute(0, 3, 1, 2) / 255
            latents = codec.encode(inputs)
            noisy = latents + torch.rand_like(latents) - 0.5
            error = ((inputs - codec.decode(noisy)) ** 2).mean() * 255**2
            optimizer.zero_grad()
            (options.worth * error + codec.bits(noisy) / (BATCH * PATCH**2)).backward()
            optimizer.step()
            schedule.step()
            advance("", 1)
    return codec


def exported(codec: Codec) -> onnx.ModelProto:
    """A codec as ONNX: images of any size that STRIDE divides → images, and the rounded latents."""
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    _add(codec.encoder, "images", "exact", nodes, weights)
    nodes.append(helper.make_node("Round", ["exact"], ["latents"]))
    _add(codec.decoder, "latents", "pixels", nodes, weights)
    sizes = {"images": ("height", "width"), "pixels": ("height", "width"), "latents": ("rows", "columns")}
    inputs, *outputs = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, LATENTS if name == "latents" else 3, *sides])
        for name, sides in sizes.items()
    )
    graph = helper.make_graph(nodes, "codec", [inputs], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _add(chains: Sequence[Any], source: str, target: str, nodes: list[NodeProto], weights: list[TensorProto]) -> None:
    """Add the sum of two chains of modules to the nodes and weights of a graph."""
    ends = []
    for chain in chains:
        name = source
        for module in chain:
            given = [name]
            for kind, tensor in module.named_parameters():
                given.append(f"{target}_{len(nodes)}_{kind}")
                weights.append(numpy_helper.from_array(tensor.detach().numpy(), given[-1]))
            name = f"{target}_{len(nodes)}"
            nodes.append(_node(module, given, name))
        ends.append(name)
    nodes.append(helper.make_node("Add", ends, [target]))


def _node(module: Any, given: Sequence[str], name: str) -> NodeProto:
    if hasattr(module, "negative_slope"):
        return helper.make_node("LeakyRelu", given, [name], alpha=module.negative_slope)
    words = {"strides": module.stride, "pads": 2 * module.padding}
    if any(module.output_padding):
        words["output_padding"] = module.output_padding
    return helper.make_node("ConvTranspose" if module.transposed else "Conv", given, [name], **words)


def photographs() -> list[Image8]:
    """The built-in photographs, RGB uint8, with sides that STRIDE divides."""
    source = SampleSource()
    found = source.read(list(source.listing().samples))
    images = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in found if isinstance(data, bytes)]
    return [image[: len(image) // STRIDE * STRIDE, : image.shape[1] // STRIDE * STRIDE] for image in images]


def psnr(image: Image8, other: Image8) -> float:
    """Peak signal-to-noise ratio of uint8 images, in dB."""
    return 10 * math.log10(255**2 / float(np.mean((image.astype(float) - other) ** 2)))


def _make(options: Options) -> int:
    if options.output.is_dir():
        raise UsageError(f"--output {options.output} is a folder: name a file")
    torch = required("torch", _NEEDS)
    images = photographs()
    codec = train(images[:-HELD_OUT], options)
    with replacing(options.output) as path:
        path.write_bytes(exported(codec).SerializeToString())
    used = session(str(options.output))
    for image in images[-HELD_OUT:]:
        inputs = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            rate = float(codec.bits(codec.encode(inputs).round())) / image[..., 0].size
        print(f"{psnr(image, recoded(used, image)):.2f} dB at {rate:.2f} bits per pixel")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = Parser(
        Options, prog="examples.train_codec", description="Train a small learned codec, and write it as ONNX."
    )
    options = options_of(parser.parse_args(arguments), Options)
    return exit_status(parser.prog, lambda: _make(options))


if __name__ == "__main__":
    sys.exit(main())
