"""Does test-time adaptation help? The paper's Table 6: a model on each variant, unchanged and adapted by TENT.

    python -m examples.tent --model tf_efficientnet_lite0 --shards out/imagenet --output tented

TENT (Wang et al., *Tent: Fully Test-Time Adaptation by Entropy Minimization*, ICLR 2021) needs no labels and no
training data. Batch norms use the statistics of the current batch, and after each batch one optimiser step on their
scales and shifts lowers the entropy of its predictions; nothing else in the network changes. A batch is predicted
before its own step, with its own statistics.

Settings are that paper's for ImageNet (its section 4): SGD with momentum, batches of 64 images, a learning rate of
0.00025, images shuffled, in the same order for all variants. The order matters: if images are sorted by class, like
ImageNet's folders, a batch has the statistics of a single class. The published code (DequanWang/tent,
`cfgs/tent.yaml`) has, for CIFAR-10, `--optimizer adam --lr 0.001 --batch 200`. Each variant starts with the original
network; with `--episodic`, each batch does. `--lr 0` shows the effect of the batch's statistics without any steps.

Writes `OUTPUT/source` and `OUTPUT/tent`, folders of predictions for score.py, and prints the commands that score them.
Refuses networks without batch norms, and those whose classes are not ImageNet's 1,000. Needs PyTorch and timm.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from manifests.images import CLASSIFIED
from pipelines.command import Parser, exit_status, option, options_of, positive, whole
from pipelines.errors import UsageError
from pipelines.evaluate.asked import asked_variants
from pipelines.evaluate.class_tables import CLASSES
from pipelines.evaluate.classification import labelled
from pipelines.evaluate.model.named.built import Built
from pipelines.evaluate.model.named.pytorch import required
from pipelines.evaluate.model.named.timm import build
from pipelines.files import replacing
from pipelines.progress import counted, say
from pipelines.shards import UNKNOWN_LABEL, Shards, open_shards
from pipelines.store import place_of
from pipelines.text import table

# TENT's paper gives no number; mr-eggplant/EATA, whose code runs TENT on ImageNet, has 0.9 (main.py).
MOMENTUM = 0.9

# The folders of predictions: those of the unchanged network, and of the adapted one.
_FOLDERS = ("source", "tent")

Network = Callable[[Any], Any]
Classes = NDArray[np.int64]


def _rate(text: str) -> float:
    """A learning rate."""
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return rate


@dataclass(frozen=True)
class Options:
    """What to adapt, to what, and how."""

    model: str = option("a classifier in timm, such as tf_efficientnet_lite0", required=True, metavar="NAME")
    shards: str = option("a dataset's folder, such as out/imagenet", required=True, metavar="PATH")
    checkpoint: Path | None = option("the model's weights; default: downloaded by timm", metavar="FILE")
    variants: tuple[str, ...] = option("only these; default: all", default=(), flag="--variant", metavar="NAME")
    output: Path = option("a folder for predictions; default: %(default)s", default=Path("tented"), metavar="DIR")
    batch: int = option("images in a batch; default: %(default)s", default=64, type=positive, metavar="N")
    lr: float = option("learning rate; default: %(default)s", default=0.00025, type=_rate, metavar="X")
    optimizer: Literal["sgd", "adam"] = option("default: %(default)s", default="sgd")
    episodic: bool = option("reset the model before each batch, not only before each variant", default=False)
    seed: int = option("decides the images' order; default: %(default)s", default=0, type=whole, metavar="N")


def entropy(scores: Any) -> Any:
    """The entropy of predictions, in nats: scores (N, classes) → (N,)."""
    return -(scores.softmax(1) * scores.log_softmax(1)).sum(1)


class Tent:
    """A copy of a network that adapts itself to each batch: inputs (N, 3, height, width) → scores (N, classes).

    The network stays in evaluation mode, except for its batch norms.
    """

    def __init__(self, source: Any, options: Options) -> None:
        self._source, self._options = source, options
        self._begin()

    def _begin(self) -> None:
        torch = required("torch")
        self.network = copy.deepcopy(self._source).requires_grad_(False)
        norms = [module for module in self.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.requires_grad_(True)
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
        affine = [parameter for norm in norms for parameter in norm.parameters()]
        if not affine:
            raise UsageError(f"{self._options.model} has no batch norms, which are all that TENT adapts")
        optimizers: Mapping[str, Callable[..., Any]] = {
            "sgd": partial(torch.optim.SGD, momentum=MOMENTUM),
            "adam": torch.optim.Adam,
        }
        self._optimizer = optimizers[self._options.optimizer](affine, lr=self._options.lr)

    def __call__(self, inputs: Any) -> Any:
        if self._options.episodic:
            self._begin()
        scores = self.network(inputs)
        self._optimizer.zero_grad()
        entropy(scores).mean().backward()
        self._optimizer.step()
        return scores.detach()


def batches(count: int, batch: int, seed: int) -> list[Classes]:
    """The indices of `count` images, shuffled, in batches of equal size: `batch`, or a few fewer."""
    return np.array_split(np.random.default_rng(seed).permutation(count), -(-count // batch))


def predicted(
    network: Network, inputs: Callable[[Classes], Any], order: Sequence[Classes], advance: Callable[[int], None]
) -> Classes:
    """The class of each image, predicted by a network that sees these batches of indices in order."""
    found = np.zeros(sum(map(len, order)), np.int64)
    for indices in order:
        found[indices] = network(inputs(indices)).argmax(1).numpy()
        advance(len(indices))
    return found


def images(shards: Shards, name: str, keys: Sequence[str]) -> NDArray[np.uint8]:
    """A variant's images in order of keys, RGB uint8 (N, height, width, 3): an array backed by an unnamed file."""
    found = np.zeros((0, 0, 0, 3), np.uint8)
    for place, stored in enumerate(shards.stored(name, keys)):
        pixels = shards.pixels(stored)
        if place == 0:
            with tempfile.TemporaryFile() as file:
                found = np.memmap(file, np.uint8, "w+", shape=(len(keys), *pixels.shape))
        if pixels.shape != found.shape[1:]:
            raise UsageError(
                f"{shards.root} has images of several sizes, which cannot be a batch: make them with one --size"
            )
        found[place] = pixels
    return found


def _compare(options: Options) -> int:
    built = build(options.model, options.checkpoint)
    if built.labels is not None or built.module.num_classes != CLASSES:
        raise UsageError(f"{built.name} has {built.module.num_classes:,} classes, not those of ImageNet")
    shards = _wanted(options)
    there = [folder for folder in _FOLDERS if (options.output / folder).exists()]
    if there:
        raise UsageError(f"{options.output / there[0]} already exists: give another --output")
    stated, config = built.stated, shards.config
    say(
        f"{built.name} is tested on {stated['reference']}, {stated['geometry']}, {stated['size']} of "
        f"{math.floor(stated['size'] / stated['crop_pct'])} pixels; the shards' reference is {config['reference']}, "
        f"{config['geometry']}, {config['size']}"
    )
    keys, labels = shards.samples()
    if not keys:
        raise UsageError(f"{shards.root} has no image that all variants have")
    labelled(shards)
    order = batches(len(keys), options.batch, options.seed)
    distinct = {variant.pixels_sha256: name for name, variant in shards.variants.items()}
    made: dict[str, tuple[Classes, Classes]] = {}
    with counted(2 * len(keys) * len(distinct), "img", "images predicted") as advance:
        for sha256, name in distinct.items():
            made[sha256] = _both(built, images(shards, name, keys), order, options, partial(advance, name))
    classes_of = {name: made[variant.pixels_sha256] for name, variant in shards.variants.items()}
    for name, both in classes_of.items():
        for folder, classes in zip(_FOLDERS, both, strict=True):
            _write(options.output / folder / f"{name}.csv", keys, classes)
    _show(classes_of, labels, options)
    return 0


def _both(
    built: Built, pixels: NDArray[np.uint8], order: Sequence[Classes], options: Options, advance: Callable[[int], None]
) -> tuple[Classes, Classes]:
    """The class of each image, predicted by the unchanged network and by the adapted one."""
    torch = required("torch")
    mean, std = (torch.tensor(built.stated[word]).reshape(3, 1, 1) for word in ("mean", "std"))

    def inputs(indices: Classes) -> Any:
        return (torch.from_numpy(pixels[indices]).permute(0, 3, 1, 2) / 255 - mean) / std

    with torch.inference_mode():
        source = predicted(built.module, inputs, order, advance)
    return source, predicted(Tent(built.module, options), inputs, order, advance)


def _wanted(options: Options) -> Shards:
    """The requested variants, and the reference. Raises UsageError if the shards are not for classification."""
    shards = open_shards(place_of(options.shards, "--shards"))
    if shards.dataset not in CLASSIFIED:
        raise UsageError(f"{shards.root} has the dataset {shards.dataset}, but this example is only for classifiers")
    for note in shards.notes:
        say(note)
    asked = [variant.name for variant in asked_variants(shards, options.variants)[0]]
    return shards.only(asked) if asked else shards


def _write(path: Path, keys: Sequence[str], classes: Classes) -> None:
    with replacing(path) as partial_file, open(partial_file, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("key", "pred"), *zip(keys, classes.tolist(), strict=True)])


def _show(classes_of: Mapping[str, tuple[Classes, Classes]], labels: Classes, options: Options) -> None:
    known = labels != UNKNOWN_LABEL
    rows: list[Sequence[str]] = [("variant", "top-1", "with TENT", "changed predictions")]
    for name, (source, tented) in classes_of.items():
        shares = [f"{100 * np.mean((classes == labels)[known]):.2f}" for classes in (source, tented)]
        rows.append((name, *shares, str(np.sum(source != tented))))
    print(table(rows, frozenset((1, 2, 3))))
    print(f"\n{known.sum():,} images with a label. Table 6's two rows are the means and maxima in these reports:\n")
    for folder in _FOLDERS:
        predictions = str(options.output / folder)
        words = ("--shards", options.shards, "--predictions", predictions, "--output", f"{predictions}-report")
        print(f"python score.py {shlex.join(words)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = Parser(Options, prog="examples.tent", description="Predict with a model, unchanged and adapted by TENT.")
    options = options_of(parser.parse_args(arguments), Options)
    return exit_status(parser.prog, lambda: _compare(options))


if __name__ == "__main__":
    sys.exit(main())
