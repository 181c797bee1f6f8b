"""The command lines: no flag is lost, --help fits a screen, and it imports nothing slow."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest

import generate
import hub
import score
import verify
from pipelines.command import Parser, options_of
from pipelines.evaluate.options import CompareOptions, LayersOptions, MatchOptions, TextOptions
from pipelines.evaluate.options import Options as ScoreOptions
from pipelines.generate.aim import aim_of
from pipelines.generate.encode import FORMATS
from pipelines.generate.options import Options as GenerateOptions
from pipelines.generate.sources.find import find
from pipelines.hub.options import PullOptions, PushOptions, RebuildOptions
from pipelines.options import Cluster, Inputs, Noise, Target
from tests import ROOT

# The flags that every command line must keep: what each takes, whether it is a switch, repeatable or required, and its
# default. Flags and datasets may be added, but none may be removed.
KNOWN = """
generate.py
    --variant VARIANT repeatable
    --dataset sample|imagenet|coco|cityscapes|speech = sample
    --source PATH
    --labels FILE
    --annotations FILE
    --output PATH = out
    --geometry crop|squash|keep_ratio|letterbox|stretch|identity
    --size N
    --reference VARIANT
    --samples-per-shard N
    --image-format png|png_stored|webp|npy
    --limit N
    --workers N
    --shard-timeout S = 3600
    --overwrite switch
    --address
    --list-variants switch
    --paper switch
    --dry-run switch
score.py
    --shards PATH required
    --predictions DIR
    --model FILE
    --variant NAME repeatable
    --paper switch
    --output DIR = report
    --name TEXT
    --annotations FILE
    --iou-type bbox|segm
    --boxes source|shard
    --allow-empty switch
    --class-offset N
    --resamples N
    --seed N
    --examples N = 6
    --example KEY repeatable
    --preprocessing FILE
    --mean R,G,B
    --std R,G,B
    --scale X
    --channels rgb|bgr
    --layout nchw|nhwc
    --labels FILE
    --head NAME
    --batch N
    --threads N
score.py match
    --shards PATH required
    --dump DIR
    --channels rgb|bgr = rgb
    --layout hwc|chw
    --mean R,G,B
    --std R,G,B
    --scale X
    --seed N = 0
score.py layers
    --shards PATH required
    --model FILE required
    --variant NAME repeatable required
    --images N
    --output DIR = report
    --preprocessing FILE
    --calibration N
    --mean R,G,B
    --std R,G,B
    --scale X
    --channels rgb|bgr
    --layout nchw|nhwc
    --head NAME
    --batch N
score.py text
    --task hellaswag|lambada|piqa|winogrande repeatable required
    --data FILE repeatable required
    --model FILE required
    --tokenizer FILE
    --variant NAME repeatable
    --output DIR = report
score.py compare
    REPORT… required
    --family NAME=R,R… repeatable
    --output DIR
    --publish DIR
    --submit REPORT
    --shards PATH
    --annotations FILE
    --predictions DIR
verify.py
    PATH required
    --render switch
    --source PATH
    --annotations FILE
    --labels FILE
    --workers N
hub.py push
    PATH required
    --repo ORG/NAME required
    --variant NAME repeatable
    --manifests-only switch
    --gated switch
    --public switch
    --i-have-the-right-to switch
    --workers N
hub.py pull
    ORG/NAME required
    --variant NAME repeatable required
    --output DIR = out
    --revision R
hub.py rebuild
    ORG/NAME required
    --variant NAME repeatable required
    --output DIR = out
    --revision R
    --source PATH
    --labels FILE
    --annotations FILE
    --workers N
"""


def command_lines() -> dict[str, tuple[Parser, type[Any]]]:
    (commands,) = (action.choices for action in hub._parser()._actions if isinstance(action.choices, dict))
    of_hub = {"push": PushOptions, "pull": PullOptions, "rebuild": RebuildOptions}
    return {
        "generate.py": (generate._parser(), GenerateOptions),
        "score.py": (score._parser(), ScoreOptions),
        "score.py match": (score._parser("match"), MatchOptions),
        "score.py layers": (score._parser("layers"), LayersOptions),
        "score.py text": (score._parser("text"), TextOptions),
        "score.py compare": (score._parser("compare"), CompareOptions),
        "verify.py": (verify._parser(), verify.Options),
        **{f"hub.py {name}": (commands[name], options) for name, options in of_hub.items()},
    }


LINES = command_lines()


def as_line(action: argparse.Action) -> str:
    """An action as a line of `KNOWN`."""
    names = [action.option_strings[0]] if action.option_strings else []
    takes = "|".join(map(str, action.choices)) if action.choices else str(action.metavar or "")
    kind = "switch" if action.nargs == 0 else "repeatable" if type(action).__name__ == "_Append" else ""
    given = action.default is not None and action.default is not False and action.default != ()
    default = "" if not given or action.dest == "workers" else str(action.default)
    words = [*names, takes, kind, "required" * action.required, f"= {default}" if default else ""]
    return " ".join(word for word in words if word)


def test_no_flag_is_lost_or_changed() -> None:
    known: dict[str, list[str]] = {}
    for line in KNOWN.strip().splitlines():
        if line.startswith(" "):
            known[list(known)[-1]].append(line.strip())
        else:
            known[line] = []
    assert known.keys() == LINES.keys()
    for name, lines in known.items():
        assert not set(lines) - {as_line(action) for action in LINES[name][0]._actions}, name


def test_images_keep_their_defaults() -> None:
    """Those defaults that depend on the dataset."""
    options = options_of(LINES["generate.py"][0].parse_args([]), GenerateOptions)
    made = aim_of(options).config(find(options.dataset, options.inputs, 1), ()).as_json()
    assert (made["reference"], made["image_format"]) == ("pil+pil_bilinear", "png")


def test_the_formats_are_those_that_can_be_written() -> None:
    (action,) = (a for a in LINES["generate.py"][0]._actions if a.dest == "image_format")
    assert action.choices == FORMATS


def groups(options: type[Any]) -> list[type[Any]]:
    return [hint for hint in get_type_hints(options).values() if is_dataclass(hint) and isinstance(hint, type)]


@pytest.mark.parametrize("shared", [Inputs, Target, Cluster, Noise])
def test_shared_options_are_the_same_in_all_commands(shared: type[Any]) -> None:
    sharing = [parser for parser, options in LINES.values() if shared in groups(options)]
    assert len(sharing) >= 2
    for field in fields(shared):
        taken = [next(a for a in parser._actions if a.dest == field.name) for parser in sharing]
        first, *others = ((a.option_strings, a.metavar, a.choices, a.type, a.default) for a in taken)
        assert all(other == first for other in others), field.name


@pytest.mark.parametrize("name", LINES)
def test_help_fits_a_screen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parser, _ = LINES[name]
    monkeypatch.setenv("COLUMNS", "120")
    lines = parser.format_help().splitlines()
    assert len(lines) <= (54 if name in ("generate.py", "score.py") else 24)
    assert max(map(len, lines)) <= 100
    for action in parser._actions:
        assert any((action.option_strings or [str(action.metavar)])[-1] in line for line in lines)
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, parser.format_help().splitlines())) <= 90  # choices are not wrapped


@pytest.mark.parametrize("name", LINES)
def test_the_examples_parse(name: str) -> None:
    parser, options = LINES[name]
    assert parser.epilog is not None
    prefix = f"python {name} "
    examples = [line.removeprefix(prefix).split() for line in parser.epilog.splitlines() if line.startswith(prefix)]
    assert examples
    for words in examples:
        if words[0] not in ("match", "layers", "text", "compare"):
            assert options_of(parser.parse_args(words), options)


def test_options_equal_those_of_a_command_line() -> None:
    for name, (parser, options) in LINES.items():
        if name == "generate.py":
            assert options_of(parser.parse_args([]), options) == options()
    given = options_of(
        LINES["generate.py"][0].parse_args(["--variant", "a", "--variant", "b,c", "--size", "8x9", "--workers", "2"]),
        GenerateOptions,
    )
    assert given == GenerateOptions(("a", "b,c"), target=Target(size=(8, 9)), cluster=Cluster(2))


def test_labels_are_the_source_s_if_there_is_one() -> None:
    parser = LINES["score.py"][0]

    def preprocessing(*words: str) -> dict[str, Any]:
        return options_of(parser.parse_args(["--shards", "s", "--model", "m", *words]), ScoreOptions).preprocessing

    assert preprocessing("--labels", "l") == {"labels": "l"}
    assert preprocessing("--labels", "l", "--source", "s") == {}
    assert preprocessing("--labels", "l", "--source", "s", "--class-labels", "c") == {"class_labels": "c"}


def test_given_options_are_told_apart_from_defaults() -> None:
    parser = LINES["generate.py"][0]
    assert parser.given([]) == set()
    words = [
        "--output",
        "out",
        "--variant",
        "a",
        "--ref=pil+pil_bilinear",
        "--geom",
        "crop",
        "--limit",
        "1",
        "--overwrite",
    ]
    assert parser.given(words) == {"output", "variants", "reference", "geometry", "limit", "overwrite"}


HEAVY = ("ray", "onnxruntime", "pyarrow", "cv2", "scipy", "PIL", "av", "matplotlib", "huggingface_hub", "fpng", "tqdm")


@pytest.mark.parametrize("entry", ["generate", "score", "verify", "hub"])
def test_help_and_mistakes_import_nothing_heavy(entry: str) -> None:
    code = f"""
import sys, {entry}
for words in (["--help"], ["--unknown"]):
    try:
        {entry}.main(words)
    except SystemExit as stopped:
        print(stopped.code)
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-3:] == ["0", "2", "[]"]
    assert len(done.stderr.splitlines()) == 1
