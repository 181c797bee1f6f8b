#!/usr/bin/env python
"""Score a model on every variant: python score.py --shards out/imagenet --predictions predictions"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from pipelines.command import Parser, exit_status, options_of, stop
from pipelines.evaluate.options import CompareOptions, LayersOptions, MatchOptions, Options, TextOptions
from pipelines.options import BUILT_IN, beside_paper, is_named

_SCORE_EXAMPLES = """\
python score.py --model resnet18.onnx --dataset imagenet --source val --labels val.txt --shards out/imagenet \
--variant paper --output report
python score.py --shards out/coco --predictions boxes --annotations instances_val2017.json
Also, each with --help: score.py match, score.py layers, score.py text, score.py compare
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
Exit status: 0 all good; 2 bad usage or input, or a report that disagrees with its predictions; \
3 the comparison itself failed."""


class _Command(NamedTuple):
    """A command: its options, what --help shows, what is wrong with its arguments (None if nothing), and its work.

    `mistake` gets the options, and the names of the fields that the command line sets.
    """

    options: type[Any]
    description: str
    examples: str
    mistake: Callable[[Any, Collection[str]], str | None]
    work: Callable[[Any], int]


def _score_mistake(options: Options, given: Collection[str]) -> str | None:
    if problem := beside_paper(given):
        return problem
    for_a_model = {
        **options.preprocessing,
        "checkpoint": options.noise.checkpoint,
        "calibration": options.noise.calibration,
        "device": options.device if options.device != "cpu" else None,
    }
    model_only = next((name for name, value in for_a_model.items() if value is not None and name != "class_offset"), "")
    if options.model is None and model_only:
        return f"--{model_only.replace('_', '-')} applies only with --model: predictions are used as they are"
    for_making = {
        "dataset": options.dataset,
        "limit": options.limit,
        "reference": options.reference,
        "method": options.methods or None,
        **{name.replace("_", "-"): value for name, value in vars(options.target).items()},
    }
    making = {"source": options.inputs.source, "dry-run": options.dry_run or None, **for_making}
    if options.model is None and (name := _first_given(making)):
        return f"--{name} applies only with --model: predictions are scored on existing shards"
    if options.inputs.source is None and options.dataset not in BUILT_IN and (name := _first_given(for_making)):
        return f"--{name} applies only with --source: without it, shards are scored as they are"
    if options.noise.checkpoint and not is_named(options.model):
        return "--checkpoint applies only with --model timm:NAME or torchvision:NAME"
    if options.model is not None and options.boxes:
        return "--boxes applies only with --predictions: a model's boxes are mapped back to the source"
    if options.model is not None and options.iou_type:
        return "--iou-type applies only with --predictions: a model is scored on its boxes"
    return None


def _first_given(values: dict[str, Any]) -> str | None:
    return next((name for name, value in values.items() if value is not None), None)


def _match_mistake(options: MatchOptions, given: Collection[str]) -> str | None:
    of_dump = {
        "channels": options.channels != "rgb",
        **{name: getattr(options, name) is not None for name in ("mean", "std", "scale", "layout")},
    }
    of_outputs = {name: getattr(options, name) is not None for name in ("model", "boxes", "output")} | {
        name: value is not None for name, value in vars(options.noise).items()
    }
    kind, others = ("outputs", of_outputs) if options.dump else ("dump", of_dump)
    if name := next((name for name, is_given in others.items() if is_given), None):
        hint = "the model's preprocessing is in its TOML" if kind == "dump" else "a dump needs no model"
        return f"--{name} applies only with --{kind}: {hint}"
    return None


def _text_mistake(options: TextOptions, given: Collection[str]) -> str | None:
    if len(options.tasks) == len(options.data):
        return None
    return f"{len(options.tasks)} --task and {len(options.data)} --data: give each task its file, in the same order"


def _compare_mistake(options: CompareOptions, given: Collection[str]) -> str | None:
    if bool(options.reports) == bool(options.submit):
        return "give the folders of reports, or --submit with one"
    if options.submit and not (options.publish and options.shards):
        return "--submit needs --publish, the folder to submit to, and --shards, to check the report"
    refused = {name: "does not apply with --publish" for name in ("output", "family") if options.publish}
    if not options.submit:
        refused |= dict.fromkeys(("shards", "annotations", "predictions"), "applies only with --submit")
    for name, why in refused.items():
        if getattr(options, name):
            return f"--{name} {why}: leave it out"
    return None


# The work of each command is imported when it runs: --help and mistakes in the arguments must be fast.


def _score(options: Options) -> int:
    from pipelines.evaluate.paper import paper
    from pipelines.evaluate.run import score

    return score(paper(options) if options.paper else options)


def _match(options: MatchOptions) -> int:
    from pipelines.evaluate.match import match

    return match(options)


def _layers(options: LayersOptions) -> int:
    from pipelines.evaluate.layers import layers

    return layers(options)


def _text(options: TextOptions) -> int:
    from pipelines.evaluate.text.run import text

    return text(options)


def _compare(options: CompareOptions) -> int:
    from pipelines.evaluate.compare import compare

    return compare(options)


# By subcommand; "" is scoring, which has none.
_COMMANDS = {
    "": _Command(
        Options,
        "Score a model, or its predictions, on every variant, and say which differences are real.",
        _SCORE_EXAMPLES,
        _score_mistake,
        _score,
    ),
    "match": _Command(
        MatchOptions,
        "Find out which variant a device uses, from its tensors or outputs for some of the images.",
        _MATCH_EXAMPLES,
        _match_mistake,
        _match,
    ),
    "layers": _Command(
        LayersOptions,
        "Find the nodes of a model at which noise arises, by comparing each tensor with the reference's.",
        _LAYERS_EXAMPLES,
        lambda options, given: None,
        _layers,
    ),
    "text": _Command(
        TextOptions,
        "Score a language model on the questions of a task, with and without noise in the model.",
        _TEXT_EXAMPLES,
        _text_mistake,
        _text,
    ),
    "compare": _Command(
        CompareOptions,
        "Compare models by their reports on the same images, and publish the comparison.",
        _COMPARE_EXAMPLES,
        _compare_mistake,
        _compare,
    ),
}


def _parser(name: str = "") -> Parser:
    command = _COMMANDS[name]
    prog = f"score.py {name}".strip()
    return Parser(command.options, prog=prog, description=command.description, epilog=command.examples)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    signal.signal(signal.SIGTERM, stop)
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and words[0] in _COMMANDS and words[0] else ""
    command, parser = _COMMANDS[name], _parser(name)
    options = options_of(parser.parse_args(words), command.options)
    if mistake := command.mistake(options, parser.given(words)):
        parser.error(mistake)
    return exit_status(parser.prog, lambda: command.work(options))


if __name__ == "__main__":
    sys.exit(main())
