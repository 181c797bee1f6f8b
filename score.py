#!/usr/bin/env python
"""Score a model on every variant: python score.py --shards out/imagenet --predictions predictions"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from pipelines.command import Parser, exit_status, options_of, stop
from pipelines.evaluate.options import CompareOptions, LayersOptions, MatchOptions, Options, TextOptions
from pipelines.options import BUILT_IN, beside_paper, is_named

_EXAMPLES = """\
python score.py --model resnet18.onnx --dataset imagenet --source val --labels val.txt --shards out/imagenet \
  --variant paper --output report
python score.py --shards out/coco --predictions boxes --annotations instances_val2017.json
Besides, each with --help: score.py match, score.py layers, score.py text, score.py compare
Exit status: 0 all good; 2 bad usage or input; 3 the scoring itself failed."""
_MATCH_EXAMPLES = """\
python score.py match --shards out/imagenet --dump dump --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4
python score.py match --shards out/imagenet --outputs logits --model resnet18.onnx
Exit status: 0 all good; 2 bad usage or input; 3 the comparison itself failed."""

_LAYERS_EXAMPLES = """\
python score.py layers --shards out/imagenet --model resnet18.onnx --variant int8
Exit status: 0 all good; 2 bad usage or input; 3 the measurement itself failed."""

_TEXT_EXAMPLES = """\
python score.py text --task piqa --data piqa.parquet --model opt.onnx --tokenizer tokenizer.json --variant precision
python score.py text --task piqa --data piqa.jsonl --model hf:opt-125m --variant fp16,int8
Exit status: 0 all good; 2 bad usage or input; 3 the scoring itself failed."""
_COMPARE_EXAMPLES = """\
python score.py compare report_resnet18 report_resnet50 --output comparison
python score.py compare report_resnet18 report_resnet50 --publish leaderboard
python score.py compare --submit report_resnet34 --shards out/imagenet --publish leaderboard
Exit status: 0 all good; 2 bad usage or input, or a report that is not what its predictions come to; 3 it failed."""


def _parser() -> Parser:
    return Parser(
        Options,
        prog="score.py",
        description="Score a model, or its predictions, on every variant, and say which differences are real.",
        epilog=_EXAMPLES,
    )


def _match_parser() -> Parser:
    return Parser(
        MatchOptions,
        prog="score.py match",
        description="Find the variant that a deployed device has, by what it or its model made of some of the images.",
        epilog=_MATCH_EXAMPLES,
    )


def _layers_parser() -> Parser:
    return Parser(
        LayersOptions,
        prog="score.py layers",
        description="Find the nodes of a model at which noise arises: each tensor against the reference's.",
        epilog=_LAYERS_EXAMPLES,
    )


def _text_parser() -> Parser:
    return Parser(
        TextOptions,
        prog="score.py text",
        description="Ask a language model the questions of a task, as it is and with noise in it.",
        epilog=_TEXT_EXAMPLES,
    )


def _compare_parser() -> Parser:
    return Parser(
        CompareOptions,
        prog="score.py compare",
        description="Compare models by their reports, on the same images, and publish what was found.",
        epilog=_COMPARE_EXAMPLES,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    signal.signal(signal.SIGTERM, stop)
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = _COMMANDS.get(words[0]) if words else None
    return command(words[1:]) if command else _score(words)


def _score(words: Sequence[str]) -> int:
    parser = _parser()
    options = options_of(parser.parse_args(words), Options)
    if problem := beside_paper(parser.given(words)):
        parser.error(problem)
    device = options.device if options.device != "cpu" else None
    for_a_model = {
        **options.preprocessing,
        "checkpoint": options.noise.checkpoint,
        "calibration": options.noise.calibration,
        "device": device,
    }
    first = next((name for name, value in for_a_model.items() if value is not None and name != "class_offset"), None)
    if options.model is None and first:
        flag = f"--{first.replace('_', '-')}"
        parser.error(f"{flag} is of use with --model only: predictions are taken as they are")
    for_making = {
        "dataset": options.dataset,
        "limit": options.limit,
        "reference": options.reference,
        "method": options.methods or None,
        **{name.replace("_", "-"): value for name, value in vars(options.target).items()},
    }
    making = {"source": options.inputs.source, "dry-run": options.dry_run or None, **for_making}
    made = next((name for name, value in making.items() if value is not None), None)
    if options.model is None and made:
        parser.error(f"--{made} is of use with --model only: predictions are of shards that are there")
    made = next((name for name, value in for_making.items() if value is not None), None)
    if options.inputs.source is None and options.dataset not in BUILT_IN and made:
        parser.error(f"--{made} is of use with --source only: without it, shards are scored as they are")
    if options.noise.checkpoint and not is_named(options.model):
        parser.error("--checkpoint is of use with --model timm:NAME or torchvision:NAME only")
    if options.model is not None and options.boxes:
        parser.error("--boxes is of use with --predictions only: a model's boxes are mapped back")
    if options.model is not None and options.iou_type:
        parser.error("--iou-type is of use with --predictions only: of a model, boxes are scored")

    def work() -> int:
        from pipelines.evaluate.paper import paper  # not needed to say what is wrong with the arguments
        from pipelines.evaluate.run import score

        return score(paper(options) if options.paper else options)

    return exit_status(parser.prog, work)


def _match(words: Sequence[str]) -> int:
    parser = _match_parser()
    options = options_of(parser.parse_args(words), MatchOptions)
    of_dump = {
        "channels": options.channels != "rgb",
        **{name: getattr(options, name) is not None for name in ("mean", "std", "scale", "layout")},
    }
    of_outputs = {name: getattr(options, name) is not None for name in ("model", "boxes", "output")} | {
        name: value is not None for name, value in vars(options.noise).items()
    }
    kind, others = ("outputs", of_outputs) if options.dump else ("dump", of_dump)
    if given := next((name for name, is_given in others.items() if is_given), None):
        hint = "the model's preprocessing is in its TOML" if kind == "dump" else "a dump needs no model"
        parser.error(f"--{given} is of use with --{kind} only: {hint}")

    def work() -> int:
        from pipelines.evaluate.match import match

        return match(options)

    return exit_status(parser.prog, work)


def _layers(words: Sequence[str]) -> int:
    parser = _layers_parser()
    options = options_of(parser.parse_args(words), LayersOptions)

    def work() -> int:
        from pipelines.evaluate.layers import layers

        return layers(options)

    return exit_status(parser.prog, work)


def _text(words: Sequence[str]) -> int:
    parser = _text_parser()
    options = options_of(parser.parse_args(words), TextOptions)
    if len(options.tasks) != len(options.data):
        parser.error(
            f"{len(options.tasks)} --task and {len(options.data)} --data: give each task its file, in the same order"
        )

    def work() -> int:
        from pipelines.evaluate.text.run import text

        return text(options)

    return exit_status(parser.prog, work)


def _compare(words: Sequence[str]) -> int:
    parser = _compare_parser()
    options = options_of(parser.parse_args(words), CompareOptions)
    if bool(options.reports) == bool(options.submit):
        parser.error("give the folders of reports, or --submit with one")
    if options.submit and not (options.publish and options.shards):
        parser.error("--submit needs --publish, the folder that it goes into, and --shards, to check it")
    beside: dict[str, tuple[object, object]] = {
        "--output": (options.output, options.publish),
        "--family": (options.family, options.publish),
    }
    of_submit = ("shards", "annotations", "predictions")
    beside |= {f"--{name}": (getattr(options, name), not options.submit) for name in of_submit}
    if useless := next((flag for flag, (value, no_use) in beside.items() if value and no_use), None):
        parser.error(f"{useless} is of no use {'without --submit' if not options.publish else 'there'}: leave it out")

    def work() -> int:
        from pipelines.evaluate.compare import compare

        return compare(options)

    return exit_status(parser.prog, work)


_COMMANDS = {"match": _match, "layers": _layers, "text": _text, "compare": _compare}


if __name__ == "__main__":
    sys.exit(main())
