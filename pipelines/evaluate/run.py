"""A whole scoring run, from options to a finished report: what `score.py` does once its arguments are read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.schema import CLASSIFIED
from pipelines.errors import RunError, UsageError
from pipelines.evaluate import predictions
from pipelines.evaluate.classification import Classification
from pipelines.evaluate.detection import Detection
from pipelines.evaluate.report import text
from pipelines.evaluate.report.page import page
from pipelines.evaluate.report.pictures import Example, examples
from pipelines.evaluate.results import Results, as_json, evaluate
from pipelines.evaluate.segmentation import Segmentation
from pipelines.evaluate.shards import Shards, open_shards
from pipelines.evaluate.statistics import Bootstrap
from pipelines.evaluate.task import Task
from pipelines.generate.progress import say


@dataclass(frozen=True)
class Options:
    """What the command line asks for, checked no further than argparse does.

    `preprocessing` holds what was given of a model's preprocessing, by name.
    """

    shards: str
    predictions: str | None
    model: str | None
    annotations: str | None
    boxes: str
    output: str
    name: str | None
    variants: tuple[str, ...]
    class_offset: int
    allow_empty: bool
    preprocessing: Mapping[str, Any]
    threads: int | None
    resamples: int
    seed: int
    examples: int
    example: tuple[str, ...]


def score(options: Options) -> int:
    """Score a model or its predictions, and write the report; the exit status."""
    shards = _chosen(open_shards(Path(options.shards)), options.variants)
    for note in shards.notes:
        say(note)
    if shards.dataset == "coco" and not options.annotations:
        raise UsageError("COCO shards need --annotations FILE, the one that they were made with")
    folder = _predictions(options, shards)
    paths = predictions.find_predictions(folder, shards, _suffixes(shards))
    results = evaluate(_name(options), shards, _task(options, shards, paths), paths, _unscored(shards, paths))
    output = Path(options.output)
    _write(output / "results.json", json.dumps(as_json(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    _write(output / "results.csv", text.timm_csv(results))
    _write(output / "report.md", text.markdown(results))
    _write(output / "report.html", page(results, _examples(options, results)))
    print(text.terminal(results, str(output)))
    return 0


def _chosen(shards: Shards, wanted: tuple[str, ...]) -> Shards:
    """The asked variants and the reference; all of them where none was asked for."""
    names = [name for word in wanted for name in word.split(",")]
    unknown = [name for name in names if name not in shards.variants]
    if unknown:
        raise UsageError(f"--variant {unknown[0]}: not in {shards.root}, which has {', '.join(shards.variants)}")
    return shards.only(names) if names else shards


def _predictions(options: Options, shards: Shards) -> Path:
    """The folder of predictions: the one given, or that into which the model's are written."""
    if options.model is None:
        assert options.predictions is not None  # the parser asks for one of the two
        return Path(options.predictions)
    from pipelines.evaluate.model.predict import predict  # imports what only a model needs
    from pipelines.evaluate.model.preprocessing import read_preprocessing

    model = Path(options.model)
    if not model.is_file():
        raise UsageError(f"--model {model} is no file")
    folder = Path(options.output) / "predictions"
    predict(shards, model, read_preprocessing(model, options.preprocessing), folder, options.threads)
    return folder


def _suffixes(shards: Shards) -> tuple[str, ...]:
    if shards.dataset in CLASSIFIED:
        return predictions.TABLES
    return (".json",) if shards.dataset == "coco" else ()


def _task(options: Options, shards: Shards, paths: Mapping[str, Path]) -> Task:
    reference = paths[shards.reference.name]
    # A model's own predictions are in the dataset's classes already, and in source pixels.
    given = options.model is None
    if shards.dataset in CLASSIFIED:
        return Classification(shards, reference, options.class_offset if given else 0)
    bootstrap = Bootstrap(options.resamples, options.seed)
    if shards.dataset == "coco":
        assert options.annotations is not None  # asked for before anything ran
        boxes = options.boxes if given else "source"
        allow_empty = options.allow_empty or not given
        return Detection(shards, reference, Path(options.annotations), boxes, bootstrap, allow_empty)
    return Segmentation(shards, reference, bootstrap)


def _name(options: Options) -> str:
    return options.name or Path(options.model or options.predictions or "").resolve().stem


def _unscored(shards: Shards, paths: Mapping[str, Path]) -> list[str]:
    names = [name for name in shards.variants if name not in paths]
    return [f"Not scored, for there are no predictions: {', '.join(names)}."] if names else []


def _examples(options: Options, results: Results) -> list[Example]:
    try:
        return examples(results, options.examples, options.example)
    except RunError as error:  # the figures stand without pictures
        say(f"no pictures in the report: {error}")
        return []


def _write(path: Path, content: str) -> None:
    """Put a file in its place when it is whole."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise RunError(f"cannot write to {path.parent} ({error.strerror or error})") from None
