"""A whole scoring run, from options to a finished report: what `score.py` does with its arguments.

Refuses bad input before a model runs, and writes a report only when it is complete.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from generators.variant import Variant
from manifests.images import CLASSIFIED
from manifests.mels import SPOKEN
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.asked import asked_variants
from pipelines.evaluate.chance.given import Given
from pipelines.evaluate.class_tables import CLASSES
from pipelines.evaluate.classification import Classification, labelled
from pipelines.evaluate.detection import Annotations, Detection, Reading, open_annotations
from pipelines.evaluate.evidence import evidence
from pipelines.evaluate.fetched import fetched
from pipelines.evaluate.making import is_speech
from pipelines.evaluate.options import Options
from pipelines.evaluate.outcomes import OUTCOMES, outcomes
from pipelines.evaluate.predictions import TABLES, find_predictions
from pipelines.evaluate.report import text
from pipelines.evaluate.report.pictures import Example, examples
from pipelines.evaluate.results import Results, Unscored
from pipelines.evaluate.results_json import as_json
from pipelines.evaluate.scores import Scores
from pipelines.evaluate.segmentation import Segmentation
from pipelines.evaluate.statistics import Bootstrap, are_enough, enough_resamples
from pipelines.evaluate.task import Task
from pipelines.files import put
from pipelines.options import cpus
from pipelines.progress import say
from pipelines.shards import Shards, open_shards
from pipelines.store import Disk, Place, path_of, place_of
from pipelines.work.cluster import Ray

if TYPE_CHECKING:
    from pipelines.evaluate.model.preprocessing import Preprocessing


def score(options: Options) -> int:
    """Score a model or its predictions, and write the report; the exit status."""
    if is_speech(options):
        from pipelines.evaluate.speech.run import score_speech  # scoring images never needs it

        return score_speech(options)
    if options.model is not None:  # noised models and predictions are kept next to the report
        path_of(options.model, "--model")
        path_of(options.output, "--output")
    output = place_of(options.output, "--output")
    try:
        results = of_predictions(options) if options.model is None else _of_model(options)
    except KeyboardInterrupt:
        raise RunError("stopped: finished parts are kept, and the same command continues") from None
    if results is None:
        return 0
    _write(output, results, _examples(options, results), options)
    print(text.terminal(results, str(output) if "://" in options.output else options.output))
    return 0


def of_predictions(options: Options) -> Results:
    """The results of predictions that were made elsewhere."""
    assert options.predictions is not None  # the parser requires one of the two
    cluster = options.run_by
    everything = open_shards(place_of(options.shards, "--shards"))
    for note in everything.notes:
        say(note)
    _check_suited(options, everything.dataset)
    asked, named = asked_variants(everything, options.variants)
    folder = place_of(options.predictions, "--predictions")
    suffixes = _suffixes(everything.dataset)
    everything, found = find_predictions(folder, everything, suffixes)
    wanted = everything.only([variant.name for variant in asked]) if options.variants else everything
    _check_examples(options.example, wanted)
    if everything.dataset in CLASSIFIED:
        labelled(wanted)
    chosen = {name: place for name, place in found.items() if name in wanted.variants}
    # Restricted to scored variants, since a sample that failed in another one still counts.
    shards = wanted.only(chosen)
    make_task = partial(_task, options, len(chosen), Given(offset=options.class_offset or 0))
    with contextlib.closing(Ray(cluster)) as ray:
        # A cluster's nodes fetch what they score.
        here = {shards.reference.name: chosen[shards.reference.name]} if cluster.address else chosen
        with fetched(here, folders=not suffixes) as paths:
            places = chosen if cluster.address else _on_disk(paths)
            scores = Scores(make_task, ray, folders=not suffixes)
            scores.add(shards, places, paths[shards.reference.name])
        return scores.results(_name(options), shards, Unscored(), _unscored(wanted, named, chosen))


def _of_model(options: Options) -> Results | None:
    """A model's results; makes the shards, noised models and predictions that they need. None for a dry run."""
    from pipelines.evaluate.model.named import kept_or_not  # imports what only a model needs

    assert options.model is not None
    folder = Path(options.output) / "models"
    with kept_or_not(options.model, options.noise.checkpoint, folder, kept=not options.dry_run) as file:
        return _of_file(replace(options, model=str(file)))


def _of_file(options: Options) -> Results | None:
    """As `_of_model`, for a model in a file."""
    from pipelines.evaluate.plan import plan_of
    from pipelines.evaluate.scored_model import ScoredModel

    with contextlib.closing(ScoredModel(options)) as model:
        _check_suited(options, model.dataset)
        plan = plan_of(model)
        notes = [model.note] if model.note else []
        for note in notes:
            say(note)
        if options.dry_run:
            print(plan)
            return None
        say(plan)
        model.prepare()
        _check_examples(options.example, model.wanted)
        _annotations(options, model.wanted)
        if model.dataset in CLASSIFIED:
            labelled(model.wanted)
        model.extend(model.asked)
        make_task = partial(_task, options, model.most, _given(options, model.preprocessing))
        scores = Scores(make_task, model.ray, folders=not _suffixes(model.dataset))
        while True:
            shards = model.scored
            scores.add(shards, _on_disk(model.paths), model.paths[model.base.name])
            results = scores.results(_name(options), shards, model.unscored, notes)
            more = [shards.variant(name) for name in results.missing if model.can_make(name)]
            if not more:
                return results
            say(f"compositions of the worst methods: {', '.join(variant.name for variant in more)}")
            model.extend(more)


def _check_suited(options: Options, dataset: str) -> None:
    """Raises UsageError for options that do not apply to the dataset."""
    suited: dict[str, tuple[object, Collection[str]]] = {
        "--against": (options.against, SPOKEN),
        "--ids": (options.ids, SPOKEN),
        "--sample-rate": (options.target.sample_rate, SPOKEN),
        "--annotations": (options.inputs.annotations, {"coco"}),
        "--boxes": (options.boxes, {"coco"}),
        "--iou-type": (options.iou_type, {"coco"}),
        "--allow-empty": (options.allow_empty or None, {"coco"}),
        "--resamples": (options.resamples, {"coco", "cityscapes"}),
        "--seed": (options.seed, {"coco", "cityscapes"}),
        "--class-offset": (options.class_offset, CLASSIFIED),
    }
    for flag, (value, datasets) in suited.items():
        if value is not None and dataset not in datasets:
            raise UsageError(f"{flag} does not apply to {dataset} shards: leave it out")
    if dataset == "coco" and options.inputs.annotations is None:
        raise UsageError("COCO shards need --annotations FILE: give the one that they were made with")


def _check_examples(wanted: tuple[str, ...], shards: Shards) -> None:
    unknown = sorted(set(wanted) - set(shards.samples().keys)) if wanted else []
    if unknown:
        raise UsageError(f"--example {unknown[0]}: no such key among the samples that all variants have")


def _annotations(options: Options, shards: Shards) -> Annotations | None:
    given = options.inputs.annotations
    return None if given is None else open_annotations(place_of(given, "--annotations"), shards)


def _suffixes(dataset: str) -> tuple[str, ...]:
    if dataset in CLASSIFIED:
        return TABLES
    return (".json",) if dataset == "coco" else ()


def _given(options: Options, preprocessing: Preprocessing) -> Given:
    """What was stated about a model, and the classes that it knows: all of ImageNet's unless labels are given."""
    stated = {name.replace("_", "-") for name in options.preprocessing} - {"labels"}
    labels = preprocessing.labels
    classes = range(CLASSES) if labels is None else (label for label in labels if label >= 0)
    stated |= {"class-labels"} if labels is not None else set()
    return Given(True, frozenset(stated), preprocessing.class_offset, frozenset(classes))


def _task(options: Options, variants: int, given: Given, shards: Shards, reference: Path) -> Task:
    """The task that scores at most this many `variants` of these shards."""
    # Predictions made here are complete, in the dataset's classes and in source pixels.
    if shards.dataset in CLASSIFIED:
        return Classification(shards, reference, 0 if given.model else given.offset, given)
    annotations = _annotations(options, shards)
    threads = options.run_by.workers or cpus()
    resamples = options.resamples or enough_resamples(variants)
    if not are_enough(resamples, variants - 1):
        say(f"{resamples:,} resamples are too few for any of {variants - 1} differences to be significant")
    bootstrap = Bootstrap(resamples, options.seed or 0)
    if annotations is None:
        return Segmentation(shards, reference, bootstrap, given, threads)
    reading = Reading(allow_empty=True)
    if not given.model:
        reading = Reading(options.boxes or "source", options.allow_empty, options.iou_type or "bbox")
    return Detection(shards, reference, annotations, reading, bootstrap, given, threads)


def _on_disk(paths: Mapping[str, Path]) -> dict[str, Place]:
    return {name: Disk(str(path.absolute())) for name, path in paths.items()}


def _name(options: Options) -> str:
    scored = options.model or options.predictions or ""
    path = urlsplit(scored).path if "://" in scored else scored
    return " ".join((options.name or Path(path).resolve().stem).split())


def _unscored(shards: Shards, named: Sequence[Variant], found: Mapping[str, Place]) -> list[str]:
    # A named variant with noise in the model and no file is not in the shards.
    wanted = dict.fromkeys([*shards.variants, *(variant.name for variant in named)])
    names = [name for name in wanted if name not in found]
    return [f"Not scored, for lack of predictions: {', '.join(names)}."] if names else []


def _examples(options: Options, results: Results) -> list[Example]:
    try:
        return examples(results, options.examples, options.example)
    except RunError as error:  # the figures do not need pictures
        say(f"no pictures in the report: {error}")
        return []


def _write(output: Place, results: Results, shown: list[Example], options: Options) -> None:
    """Write the report's files, once all of them are made."""
    from pipelines.evaluate.report.page import page  # imports matplotlib, which a refusal need not wait for

    found = {**as_json(results), **evidence(results, options)}
    files = {
        "report.html": page(results, shown).encode(),
        "report.md": text.markdown(results).encode(),
        "results.csv": text.timm_csv(results).encode(),
        OUTCOMES: outcomes(results),
        "results.json": (json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    }
    for name, content in files.items():
        put(output / name, content)
