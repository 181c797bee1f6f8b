"""Does mix training help? A small version of the paper's Table 7: networks trained with one resize, or a mix of them.

    python -m examples.mix_training [--source TREE] [--networks N] [--output FILE] [--quick]

Small networks learn which photograph a patch comes from. They are trained with each of six resizes, and with a Mix that
draws one of them for each patch in each epoch, and are tested with all six: a network that is robust to its deployment
has a small standard deviation over its row. Then the same for decoders, with JPEGs of low quality and 4:2:0.

What it shows, and what it does not: the photographs are the nine built-in ones, or one of each class folder of a tree.
Test patches are cut at random from the right-hand third of each, training patches from the rest; so the networks tell
textures apart, at a quarter of their size. Colours and contrast do not help, since channels are normalised and their
order is shuffled. It shows how a network trained with one resize fares with others, but no accuracies on ImageNet.

Prints a table for each stage, and writes all figures as JSON. Takes some minutes on one core; needs PyTorch.
"""

from __future__ import annotations

import io
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from generators.mix import Box, Mix
from pipelines.command import Parser, exit_status, option, options_of, positive
from pipelines.errors import UsageError
from pipelines.files import replacing
from pipelines.generate.sources import SampleSource
from pipelines.text import table

try:
    import torch
except ImportError:
    sys.exit("PyTorch is not installed: pip install torch")

# Pillow's and OpenCV's nearest, bilinear and bicubic: the paper's six.
RESIZES = ("pil_nearest", "pil_bilinear", "pil_bicubic", "opencv_nearest", "opencv_bilinear", "opencv_bicubic")
# The paper's decoders that differ: Pillow, OpenCV and DALI give the same pixels.
DECODERS = ("pil", "ffmpeg")
MIX = "mix"
# The side, in pixels, of a network's input.
SIDE = 32
BATCH = 32
# The side of the largest patch, which must fit into a third of a photograph.
LARGEST = 128


class Settings(NamedTuple):
    """The size of a run: most photographs, patches for training and testing, epochs, and networks for each row."""

    photographs: int
    train: int
    test: int
    epochs: int
    seeds: int


FULL, QUICK = Settings(20, 1200, 1200, 10, 3), Settings(5, 80, 60, 3, 1)


@dataclass(frozen=True)
class Options:
    """What to learn from, and how much to do."""

    source: Path | None = option("a tree of class folders; default: the built-in photographs", metavar="TREE")
    output: Path = option("default: %(default)s", default=Path("mix_training.json"), metavar="FILE")
    networks: int | None = option(
        f"for each row; default: {FULL.seeds}, or {QUICK.seeds} in the short form", type=positive, metavar="N"
    )
    quick: bool = option("a short form, to check that it runs", default=False)


class Cut(NamedTuple):
    """How patches are made: their side in pixels, and how they are stored as JPEG."""

    side: int
    quality: int
    subsampling: str


# Resizes differ most when they shrink a lot. Decoders differ most if pixels are not shrunk, chroma is interpolated and
# the JPEG's quality is low.
CUTS = {"resize": (RESIZES, Cut(128, 95, "4:4:4")), "decode": (DECODERS, Cut(40, 25, "4:2:0"))}


class Patch(NamedTuple):
    """A part of a photograph: its JPEG, its side in pixels, the photograph's number, and its unique name."""

    data: bytes
    side: int
    label: int
    key: str


def photographs(tree: Path | None, most: int) -> list[Image.Image]:
    """One photograph of each class folder of a tree, or the built-in ones; those that are large enough."""
    if tree:
        folders = [sorted(folder.iterdir()) for folder in sorted(tree.iterdir()) if folder.is_dir()]
        encoded = {str(files[0]): files[0].read_bytes() for files in folders if files}
    else:
        source = SampleSource()
        samples = list(source.listing().samples)
        read = zip(samples, source.read(samples), strict=True)
        encoded = {sample.key: data for sample, data in read if isinstance(data, bytes)}
    found = [opened(name, data) for name, data in encoded.items()]
    large = [image.convert("RGB") for image in found if image.width // 3 >= LARGEST <= image.height][:most]
    if len(large) < 2:
        raise UsageError(
            f"two photographs of at least {3 * LARGEST}x{LARGEST} are needed: give --source a tree of class folders"
        )
    return large


def opened(name: str, data: bytes) -> Image.Image:
    """Open a photograph. Raises UsageError if it is not an image."""
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise UsageError(f"{name} is not an image in a format that Pillow knows: take it out of --source") from None


def cut(images: Sequence[Image.Image], count: int, how: Cut, *, tests: bool) -> list[Patch]:
    """Cut `count` patches, equally many from each photograph: from its right-hand third for `tests`, else the rest."""
    draw = random.Random(int(tests))
    found = []
    for label, image in enumerate(images):
        border = image.width - image.width // 3
        first, last = (border, image.width) if tests else (0, border)
        for number in range(count // len(images)):
            left, top = draw.randint(first, last - how.side), draw.randint(0, image.height - how.side)
            buffer = io.BytesIO()
            patch = image.crop((left, top, left + how.side, top + how.side))
            patch.save(buffer, "JPEG", quality=how.quality, subsampling=how.subsampling)
            found.append(Patch(buffer.getvalue(), how.side, label, f"{label}-{number}"))
    return found


def batches(patches: Sequence[Patch], mix: Mix, epoch: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of an epoch: a random box of each patch, half its area or more, by the mix; half are mirrored."""
    draw = random.Random(f"{seed}/{epoch}")
    for start in range(0, len(shuffled := draw.sample(patches, len(patches))), BATCH):
        part = shuffled[start : start + BATCH]
        pixels = [mix(patch.data, SIDE, key=patch.key, epoch=epoch, box=a_box(patch.side, draw)) for patch in part]
        turned = [array[:, :: draw.choice((1, -1)), draw.sample(range(3), 3)] for array in pixels]
        yield tensor(turned), torch.tensor([patch.label for patch in part])


def a_box(side: int, draw: random.Random) -> Box:
    """A random part of a patch."""
    height, width = (draw.randint(int(side * 0.7), side) for _ in range(2))
    return Box(draw.randint(0, side - height), draw.randint(0, side - width), height, width)


def tensor(pixels: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Patches as float input, (N, 3, height, width); each channel of each has mean 0 and standard deviation 1."""
    values = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()
    spread, mean = torch.std_mean(values, (2, 3), keepdim=True)
    return (values - mean) / (spread + 1)


def network(classes: int) -> torch.nn.Module:
    """Three convolutions with batch norms: 24,000 weights, plus those for the classes."""
    layers: list[torch.nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [torch.nn.Conv2d(before, after, 3, padding=1, bias=False), torch.nn.MaxPool2d(2)]
        layers += [torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, classes))


def trained(patches: Sequence[Patch], mix: Mix, classes: int, epochs: int) -> torch.nn.Module:
    """Train a network that sees each patch once an epoch; it uses the mix's seed."""
    torch.manual_seed(mix.seed)
    model = network(classes)
    optimiser = torch.optim.Adam(model.parameters())
    steps = epochs * -(-len(patches) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.01, total_steps=steps)
    for epoch in range(epochs):
        for inputs, labels in batches(patches, mix, epoch, mix.seed):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


class Row(NamedTuple):
    """The scores, in percent, of networks trained in one way: by test method, a value for each seed."""

    top1: dict[str, list[float]]

    @property
    def each(self) -> list[tuple[float, ...]]:
        """The scores of each network."""
        return list(zip(*self.top1.values(), strict=True))

    @property
    def mean(self) -> float:
        """The mean over tests and networks."""
        return statistics.mean(map(statistics.mean, self.each))

    @property
    def std(self) -> float:
        """The average over networks of the (population) standard deviation over tests."""
        return statistics.mean(map(statistics.pstdev, self.each))


Matrix = dict[str, Row]


def mix_of(stage: str, words: str | Sequence[str], seed: int = 0) -> Mix:
    """A mix at one stage, with the reference's method at the other."""
    return Mix(words, seed=seed) if stage == "decode" else Mix(resize=words, seed=seed)


def matrix(stage: str, images: Sequence[Image.Image], given: Settings) -> Matrix:
    """A row for each method of a stage, and one for the mix of them."""
    tokens, how = CUTS[stage]
    tests = {token: mix_of(stage, token) for token in tokens}
    train, test = cut(images, given.train, how, tests=False), cut(images, given.test, how, tests=True)
    labels = torch.tensor([patch.label for patch in test])
    inputs = {name: tensor([mix(patch.data, SIDE, key=patch.key) for patch in test]) for name, mix in tests.items()}
    found: Matrix = {}
    for name in (*tests, MIX):
        row = Row({other: [] for other in tests})
        for seed in range(given.seeds):
            mix = mix_of(stage, tokens if name == MIX else name, seed)
            model = trained(train, mix, len(images), given.epochs)
            with torch.inference_mode():
                for other, batch in inputs.items():
                    hits = model(batch).argmax(1) == labels
                    row.top1[other].append(100 * float(hits.float().mean()))
        found[name] = row
    return found


def shown(found: Matrix) -> str:
    """A table, and a summary of the mix's rank in it."""
    head = ("trained with", *next(iter(found.values())).top1, "mean", "std")
    rows = [
        (name, *(f"{statistics.mean(scores):.1f}" for scores in row.top1.values()), f"{row.mean:.1f}", f"{row.std:.2f}")
        for name, row in found.items()
    ]
    alone = {name: row for name, row in found.items() if name != MIX}
    best, steady = max(alone, key=lambda name: alone[name].mean), min(alone, key=lambda name: alone[name].std)
    mix = found[MIX]
    return (
        f"{table([head, *rows], frozenset(range(1, len(head))))}\n\n"
        f"mean: {mix.mean:.1f} with the mix, at most {alone[best].mean:.1f} without it ({best})\n"
        f"std: {mix.std:.2f} with the mix, at least {alone[steady].std:.2f} without it ({steady})\n"
    )


def _compare(options: Options) -> int:
    """Train, test, and print two tables."""
    if options.output.is_dir():
        raise UsageError(f"--output {options.output} is a folder: name a file")
    torch.set_num_threads(1)
    given = QUICK if options.quick else FULL
    given = given._replace(seeds=options.networks or given.seeds)
    images = photographs(options.source, given.photographs)
    report: dict[str, object] = {"photographs": len(images), "settings": given._asdict()}
    for stage in CUTS:
        print(f"{stage}: top-1 in percent among {len(images)} photographs, by test method\n")
        found = matrix(stage, images, given)
        print(shown(found), flush=True)
        report[stage] = {name: {"top1": row.top1, "mean": row.mean, "std": row.std} for name, row in found.items()}
    report["processor_seconds"] = round(time.process_time(), 1)
    with replacing(options.output) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"{report['processor_seconds']} s of processor time; all figures are in {options.output}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = Parser(
        Options, prog="examples.mix_training", description="Train with each resize, and with a mix of them."
    )
    options = options_of(parser.parse_args(arguments), Options)
    return exit_status(parser.prog, lambda: _compare(options))


if __name__ == "__main__":
    sys.exit(main())
