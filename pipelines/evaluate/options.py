"""The command lines of `score.py` and its subcommands, checked only as far as argparse checks them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from pipelines.command import group, option, positive, whole
from pipelines.errors import UsageError
from pipelines.evaluate.text.bos import bos
from pipelines.evaluate.text.tasks import TASKS
from pipelines.options import Cluster, Inputs, Noise, Target, dataset_option, method_option, paper_option

Triple = tuple[float, float, float]
_NUMBERS = 3
# Questions that int8 takes a language model's ranges from.
TEXT_CALIBRATION = 128


def _three(text: str) -> tuple[float, ...]:
    """Three numbers joined by commas; one number stands for all three."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, _NUMBERS):
        raise argparse.ArgumentTypeError(f"{text!r} is neither one number nor three joined by commas")
    return values if len(values) == _NUMBERS else values * _NUMBERS


def _fraction(text: str) -> float:
    """A number, or a fraction such as 1/255."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor a fraction such as 1/255") from None


@dataclass(frozen=True)
class Stated:
    """What the command line says about a model's preprocessing; None if it says nothing."""

    mean: Triple | None = option(type=_three, metavar="R,G,B")
    std: Triple | None = option(type=_three, metavar="R,G,B")
    scale: float | None = option("input = (pixel * scale - mean) / std; X may be 1/255", type=_fraction, metavar="X")
    channels: Literal["rgb", "bgr"] | None = option()
    layout: Literal["nchw", "nhwc"] | None = option("the order of its channels, and its input's layout")
    class_labels: str | None = option(
        "the dataset's label for each of the model's classes, one per line", metavar="FILE"
    )
    head: str | None = option(
        "a detector's decoding, such as yolov8; default: recognised from its outputs", metavar="NAME"
    )
    batch: int | None = option(type=positive, metavar="N")


@dataclass(frozen=True)
class Options:
    """What to score, on which shards, and what the report shows; None if not given."""

    shards: str = option(
        "a dataset's folder, such as out/imagenet; a path or URI", required=True, metavar="PATH", under="what is scored"
    )
    predictions: str | None = option(
        "a file for each variant, named after it; a path or URI", metavar="DIR", one_of="scored"
    )
    model: str | None = option(
        "an ONNX or TFLite file, timm:NAME or torchvision:NAME, to run on every variant",
        metavar="FILE",
        one_of="scored",
    )
    variants: tuple[str, ...] = option(
        "only these variants; default: all", default=(), flag="--variant", metavar="NAME"
    )
    paper: bool = paper_option()
    dry_run: bool = option("print what would be made and run, and stop", default=False)

    dataset: str | None = dataset_option("the dataset, if shards are to be made")
    inputs: Inputs = group(
        Inputs,
        source="where the images are, to make missing shards from",
        labels="the source's labels, as for generate.py; without --source: --class-labels",
        annotations="the COCO annotations that the shards were made with",
    )
    limit: int | None = option(type=positive, metavar="N")
    reference: str | None = option("only the first N; what to compare with, default: the TOML's", metavar="VARIANT")
    target: Target = group(Target)
    methods: tuple[str, ...] = method_option("your own method, as for generate.py")

    noise: Noise = group(Noise, "the model, unless the TOML file next to it says so")
    stated: Stated = group(Stated)
    threads: int | None = option(type=positive, metavar="N")
    device: Literal["cpu", "cuda"] = option(
        "default: one image at a time, on %(default)s; --threads is an older name for --workers", default="cpu"
    )

    class_offset: int | None = option(
        "subtracted from every predicted class; 1 if class 0 is background", type=int, metavar="N", under="predictions"
    )
    iou_type: Literal["bbox", "segm"] | None = option()
    boxes: Literal["source", "shard"] | None = option("for COCO results; default: bbox, in source pixels")
    allow_empty: bool = option("accept COCO results in which many images have no detections", default=False)
    against: Literal["reference", "variant"] | None = option()
    ids: str | None = option("for speech: whose mels are the truth, and a model's ids", metavar="FILE")

    output: str = option(
        "a path, or with --predictions also a URI; default: %(default)s",
        default="report",
        metavar="DIR",
        under="report",
    )
    name: str | None = option(
        "what the report calls the model; default: the name of its file or folder", metavar="TEXT"
    )
    resamples: int | None = option(type=positive, metavar="N")
    seed: int | None = option(
        "for the bootstrap; default: 2000 (more for large tables), and 0", type=whole, metavar="N"
    )
    examples: int = option(default=6, type=whole, metavar="N")
    example: tuple[str, ...] = option(
        "how many samples to show (default: 6), and which first (repeatable)", default=(), metavar="KEY"
    )

    cluster: Cluster = group(Cluster)

    @property
    def run_by(self) -> Cluster:
        """The cluster that does the work. Raises UsageError if --workers and --threads contradict each other."""
        workers = self.cluster.workers
        if None not in (workers, self.threads) and workers != self.threads:
            raise UsageError(
                f"--workers {workers} and --threads {self.threads} contradict each other: give only --workers"
            )
        return replace(self.cluster, workers=workers or self.threads)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The given preprocessing, by the keys of the model's TOML; `preprocessing` is the path of that file."""
        labels = None if self.inputs.source else self.inputs.labels
        given = {
            **_preprocessing(self.noise, self.stated),
            "labels": labels,
            "class_offset": self.class_offset,
        }
        return {name: value for name, value in given.items() if value is not None}


def _preprocessing(noise: Noise, stated: Stated) -> dict[str, Any]:
    return {"preprocessing": noise.preprocessing} | {
        field.name: getattr(stated, field.name) for field in fields(stated)
    }


@dataclass(frozen=True)
class MatchOptions:
    """What to match. `dump = (pixel * scale - mean) / std`, per channel in the dump's order; None is not applied.

    A `layout` of None is found from the shape, H×W×3 or 3×H×W. At most 500 images of a dump, or 64 of outputs, are
    compared.
    """

    shards: str = option(
        "a dataset's folder, such as out/imagenet; a path or URI",
        required=True,
        metavar="PATH",
        under="what is matched",
    )
    dump: Path | None = option(
        "the device's tensors, images or mels: .png or .npy by key", metavar="DIR", one_of="shown"
    )
    outputs: Path | None = option(
        "or its model's outputs: .npy, .npz, .json or .csv, by key or one for all",
        metavar="DIR",
        one_of="shown",
    )
    seed: int = option("for the resampling; default: %(default)s", default=0, type=whole, metavar="N")

    mean: Triple | None = option(type=_three, metavar="R,G,B", under="a dump")
    std: Triple | None = option(type=_three, metavar="R,G,B")
    scale: float | None = option("dump = (pixel * scale - mean) / std; X may be 1/255", type=_fraction, metavar="X")
    channels: Literal["rgb", "bgr"] = option(default="rgb")
    layout: Literal["hwc", "chw"] | None = option("of the dump; default: rgb; the layout by .npy shapes")

    model: str | None = option("the model that made them, as for scoring", metavar="FILE", under="outputs")
    noise: Noise = group(Noise)
    boxes: Literal["source", "shard"] | None = option("the pixels that boxes are in; default: source")
    output: str | None = option("where noised models are kept; default: report, as for scoring", metavar="DIR")


@dataclass(frozen=True)
class LayersOptions:
    """The model, and the variants of it and its pixels, whose tensors are compared with the reference's."""

    shards: str = option("a dataset's folder, such as out/imagenet; a path or URI", required=True, metavar="PATH")
    model: str = option("an ONNX file, timm:NAME or torchvision:NAME", required=True, metavar="FILE")
    variants: tuple[str, ...] = option(
        "noise in the model, other pixels, or both", required=True, flag="--variant", metavar="NAME"
    )
    noise: Noise = group(Noise, "the model, unless the TOML file next to it says so")
    stated: Stated = group(Stated)
    images: int | None = option("images at a time (default: 1), and in all (default: 32)", type=positive, metavar="N")
    output: str = option("default: %(default)s", default="report", metavar="DIR", under="what is written")

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The given preprocessing, by the keys of the model's TOML; `preprocessing` is the path of that file."""
        return {name: value for name, value in _preprocessing(self.noise, self.stated).items() if value is not None}


@dataclass(frozen=True)
class TextOptions:
    """The questions that a causal language model is asked, and the noise in it; `tasks` and `data` go in pairs."""

    tasks: tuple[str, ...] = option(required=True, flag="--task", choices=TASKS, metavar="TASK", under="what is scored")
    data: tuple[str, ...] = option(
        f"{', '.join(TASKS)}, and its questions: Parquet or JSON lines, a path or URI (repeatable in pairs)",
        required=True,
        metavar="FILE",
    )
    model: str = option("a causal model: an ONNX file, or hf:FOLDER of transformers", required=True, metavar="FILE")
    tokenizer: Path | None = option("default: tokenizer.json next to the model", metavar="FILE")
    variants: tuple[str, ...] = option(
        "noise: precision, paper (fp16, int8), or tokens; default: none", default=(), flag="--variant", metavar="NAME"
    )
    limit: int | None = option("only the first N questions of each task", type=positive, metavar="N")

    bos: int | None = option("the token that starts a text, or none; default: the tokenizer's", type=bos, metavar="ID")
    calibration: int | None = option(
        f"questions that int8 takes its ranges from; default: {TEXT_CALIBRATION}", type=positive, metavar="N"
    )
    batch: int | None = option(type=positive, metavar="N")
    workers: int | None = option(
        "texts at a time (default: as memory allows), and CPUs to use (default: all)", type=positive, metavar="N"
    )

    output: str = option("default: %(default)s", default="report", metavar="DIR", under="report")
    name: str | None = option(
        "what the report calls the model; default: the name of its file or folder", metavar="TEXT"
    )
    resamples: int | None = option(type=positive, metavar="N")
    seed: int = option(
        "for the bootstrap of perplexities; default: 2000 or more, and 0",
        default=0,
        type=whole,
        metavar="N",
    )


@dataclass(frozen=True)
class CompareOptions:
    """The reports to compare, or the folder that they are published in and the report to add to it."""

    reports: Sequence[str] = option("folders of reports that score.py wrote; paths or URIs", flag="REPORT…", nargs="*")
    family: tuple[str, ...] = option(
        "reports to join by a line; default: by the beginning of their names", default=(), metavar="NAME=R,R…"
    )
    output: str | None = option("default: comparison", metavar="DIR")

    publish: str | None = option(
        "write a folder for a static site or a Hub Space instead", metavar="DIR", under="a leaderboard"
    )
    submit: str | None = option("check a report against its predictions, and add it to the folder", metavar="REPORT")
    shards: str | None = option("the shards that it was scored on", metavar="PATH")
    annotations: str | None = option("the COCO annotations of the shards", metavar="FILE")
    predictions: str | None = option("its predictions; default: those in its folder", metavar="DIR")
