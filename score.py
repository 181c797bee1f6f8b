#!/usr/bin/env python
"""Score a model on every variant: python score.py --shards out/imagenet --predictions predictions"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from pipelines.command import Parser, exit_status, positive

_NUMBERS = 3


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
    """A number, or a fraction as 1/255."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor a fraction such as 1/255") from None


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _parser() -> Parser:
    parser = Parser(
        prog="score.py",
        description="Score a model, or its predictions, on every variant of a dataset's shards, and say which "
        "differences are real. `score.py match --help`: find the variant that a device has.",
        epilog="Exit status: 0 all good; 2 bad usage or input; 3 the scoring itself failed.",
    )
    add = parser.add_argument
    add("--shards", metavar="PATH", required=True, help="a dataset's folder, as out/imagenet")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--predictions", metavar="DIR", help="a file for each variant, named after it")
    what.add_argument("--model", metavar="FILE", help="an ONNX model to run on every variant")
    add("--variant", action="append", default=[], metavar="NAME", help="only these variants; default: all")
    add("--output", metavar="DIR", default="report", help="default: %(default)s")
    add("--name", metavar="TEXT", help="what the report calls the model; default: the name of its file or folder")
    add("--annotations", metavar="FILE", help="COCO annotations, the ones that the shards were made with")
    add("--boxes", choices=("source", "shard"), help="whose pixels boxes are in; default: source")
    add("--allow-empty", action="store_true", help="take COCO results in which many images have no box")
    add("--class-offset", type=int, metavar="N", help="taken off every predicted class; 1 where 0 is background")
    add("--resamples", type=positive, metavar="N", help="of the bootstrap; default: 2000, more for large tables")
    add("--seed", type=_count, metavar="N", help="of the bootstrap; default: 0")
    add("--examples", type=_count, default=6, metavar="N", help="samples shown in the report; default: %(default)s")
    add("--example", action="append", default=[], metavar="KEY", help="a sample to show first; repeatable")
    model = parser.add_argument_group("the model's preprocessing, where no TOML file beside it says so")
    model.add_argument("--preprocessing", metavar="FILE", help="default: the model's name with .toml")
    model.add_argument("--mean", type=_three, metavar="R,G,B", help="in the order of the model's channels")
    model.add_argument("--std", type=_three, metavar="R,G,B")
    model.add_argument("--scale", type=_fraction, metavar="X", help="as 1/255: input = (pixel * scale - mean) / std")
    model.add_argument("--channels", choices=("rgb", "bgr"))
    model.add_argument("--layout", choices=("nchw", "nhwc"))
    model.add_argument(
        "--labels", metavar="FILE", help="the dataset's label of each of the model's classes, a line each"
    )
    model.add_argument("--head", choices=("yolox", "nanodet"), help="how a detector's output is decoded")
    model.add_argument("--batch", type=positive, metavar="N", help="default: 1")
    model.add_argument("--threads", type=positive, metavar="N", help="default: all CPUs")
    return parser


def _match_parser() -> Parser:
    parser = Parser(
        prog="score.py match",
        description="Find the variant that a deployed device has, from what it made of some of the same images.",
        epilog="Exit status: 0 all good; 2 bad usage or input; 3 the comparison itself failed.",
    )
    add = parser.add_argument
    add("--shards", metavar="PATH", required=True, help="a dataset's folder, as out/imagenet")
    add("--dump", metavar="DIR", required=True, help="the device's tensors or images: .png or .npy, named by key")
    add("--channels", choices=("rgb", "bgr"), default="rgb", help="of the dump; default: %(default)s")
    add("--layout", choices=("hwc", "chw"), help="of .npy files; default: by their shape")
    add("--mean", type=_three, metavar="R,G,B", help="dump = (pixel * scale - mean) / std, in the dump's channel order")
    add("--std", type=_three, metavar="R,G,B")
    add("--scale", type=_fraction, metavar="X", help="as 1/255")
    add("--seed", type=_count, default=0, metavar="N", help="of the resampling; default: %(default)s")
    return parser


_PREPROCESSING = ("preprocessing", "mean", "std", "scale", "channels", "layout", "labels", "head", "batch")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return _match(words[1:]) if words[:1] == ["match"] else _score(words)


def _score(words: Sequence[str]) -> int:
    parser = _parser()
    given = parser.parse_args(words)
    preprocessing = {name: value for name in _PREPROCESSING if (value := getattr(given, name)) is not None}
    if given.model is None and (preprocessing or given.threads):
        first = f"--{next(iter(preprocessing), 'threads')}"
        parser.error(f"{first} is of use with --model only: predictions are taken as they are")
    if given.model is not None and given.boxes:
        parser.error("--boxes is of use with --predictions only: a model's boxes are mapped back")
    if given.class_offset is not None:
        preprocessing["class_offset"] = given.class_offset

    def work() -> int:
        from pipelines.evaluate.run import Options, score  # not needed to say what is wrong with the arguments

        return score(
            Options(
                shards=given.shards,
                predictions=given.predictions,
                model=given.model,
                annotations=given.annotations,
                boxes=given.boxes,
                output=given.output,
                name=given.name,
                variants=tuple(given.variant),
                class_offset=given.class_offset,
                allow_empty=given.allow_empty,
                preprocessing=preprocessing,
                threads=given.threads,
                resamples=given.resamples,
                seed=given.seed,
                examples=given.examples,
                example=tuple(given.example),
            )
        )

    return exit_status(parser.prog, work)


def _match(words: Sequence[str]) -> int:
    parser = _match_parser()
    given = parser.parse_args(words)

    def work() -> int:
        from pipelines.evaluate.match import MatchOptions, match

        return match(
            MatchOptions(
                shards=Path(given.shards),
                dump=Path(given.dump),
                channels=given.channels,
                layout=given.layout,
                mean=given.mean,
                std=given.std,
                scale=given.scale,
                seed=given.seed,
            )
        )

    return exit_status(parser.prog, work)


if __name__ == "__main__":
    sys.exit(main())
