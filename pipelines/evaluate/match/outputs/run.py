"""`score.py match --outputs`, from a device's outputs, the model and the shards to the printed answer."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from generators.registry import METHODS, MODEL_STAGES, Method
from pipelines.errors import UsageError
from pipelines.evaluate.match.measure import groups_of
from pipelines.evaluate.match.outputs.answer import Ranked, answer
from pipelines.evaluate.match.outputs.boxes import Detections
from pipelines.evaluate.match.outputs.compare import Comparison, of_image
from pipelines.evaluate.match.outputs.files import Given, find_outputs
from pipelines.evaluate.match.outputs.numbers import Numbers
from pipelines.evaluate.match.outputs.rank import Place, is_near, rank
from pipelines.evaluate.match.outputs.search import FEW, search
from pipelines.evaluate.match.outputs.trials import Trials, Tried
from pipelines.evaluate.match.outputs.values import Arrays, Boxes, boxes_of_array
from pipelines.evaluate.match.words import skipped
from pipelines.evaluate.model.calibration import by_hash, calibration
from pipelines.evaluate.model.geometry import check_geometry
from pipelines.evaluate.model.inputs import Inputs, fitting
from pipelines.evaluate.model.named import model_file
from pipelines.evaluate.model.noised import NoisedModels
from pipelines.evaluate.model.preprocessing import Preprocessing, read_preprocessing
from pipelines.evaluate.model.readers import kind_for
from pipelines.evaluate.model.runtimes import Outputs, open_session
from pipelines.evaluate.options import MatchOptions
from pipelines.options import cpus
from pipelines.shards import Shards, check_images, open_shards
from pipelines.store import path_of, place_of
from pipelines.text import number_of

# More images would take longer and not change the answer.
_MOST = 64
_OUTPUT = "report"  # score.py's default, where it keeps noised models, too


class _Opened(NamedTuple):
    """The model, and its outputs for the first image without noise."""

    path: Path
    preprocessing: Preprocessing
    models: NoisedModels
    inputs: Inputs
    outputs: Outputs


def match_outputs(options: MatchOptions) -> int:
    """Print which variant the device matches; returns exit status 0. Raises UsageError for bad input."""
    assert options.outputs is not None
    shards = open_shards(place_of(options.shards, "--shards"))
    check_images(shards, "--outputs")
    known = shards.reference.table("key")["key"].to_pylist()
    given = find_outputs(options.outputs, frozenset(known))
    succeeded = frozenset(shards.samples().keys)
    shared = [key for key in given.keys if key in succeeded]
    if not shared:
        raise UsageError(f"{options.outputs} has only samples that failed in some variant: give others")
    keys = by_hash(shared)[:_MOST]  # a random order, whose first keys are tried first
    opened = _opened(options, shards, keys[0])
    comparison = _comparison(options, shards, given, keys, opened)
    keys = [key for key in keys if key in comparison.theirs]
    trials = Trials(shards, opened.models, opened.inputs, comparison, opened.preprocessing, cpus())
    pixels = [group.names for group in groups_of(shards.only(shards.folders), keys)]
    found = search(trials, pixels, list(_noises(comparison)), keys)
    places = rank(found.tried, options.seed)
    near = places[0].close == len(keys) or _is_near(trials, places, found.tried, keys)
    print(answer(Ranked(shards, comparison, places, len(keys), found.total, near, _scoring(options, shards))))
    notes = [*comparison.notes, *_notes(given, shared, keys, trials, comparison), *shards.notes]
    if notes:
        print("", *(f"Note: {note}." for note in notes), sep="\n")
    return 0


def _scoring(options: MatchOptions, shards: Shards) -> str:
    """score.py's options for the model."""
    stated = options.noise.preprocessing
    words = ["--model", str(options.model), *(["--preprocessing", stated] if stated else [])]
    return shlex.join(words) + (" --annotations …" if shards.dataset == "coco" else "")


def _opened(options: MatchOptions, shards: Shards, key: str) -> _Opened:
    if options.model is None:
        raise UsageError("--outputs needs --model FILE, the model that the device runs")
    path_of(options.model, "--model")
    models_folder = path_of(options.output or _OUTPUT, "--output") / "models"
    path = model_file(options.model, options.noise.checkpoint, models_folder)
    preprocessing = read_preprocessing(path, {"preprocessing": options.noise.preprocessing})
    check_geometry(shards, preprocessing)
    count = options.noise.calibration
    models = NoisedModels(path, models_folder / path.stem, lambda: calibration(shards, path, preprocessing, count))
    session = open_session(models.as_it_is, preprocessing.layout, "cpu")
    stored = next(shards.stored(shards.reference.name, {key}))
    image = shards.pixels(stored)
    inputs = fitting(session.input, preprocessing, image, kind_for(shards.dataset, preprocessing).detects)
    batch = inputs.batch(1)
    inputs.place(key, shards.info(stored), image, batch[0])
    return _Opened(path, preprocessing, models, inputs, session.run(batch))


def _comparison(
    options: MatchOptions, shards: Shards, given: Given, keys: Sequence[str], opened: _Opened
) -> Comparison:
    values = given.read(keys)
    notes = list[str]()
    if any(isinstance(value, dict) for value in values.values()):
        arrays = {key: value for key, value in values.items() if isinstance(value, dict)}
        if len(arrays) < len(values):
            raise UsageError(
                f"{options.outputs} has boxes for some images and arrays for others: write the same for all"
            )
        if not _are_detections(shards, arrays, opened.outputs):
            if options.boxes:
                raise UsageError("--boxes applies only to boxes, and these are raw outputs of the model: leave it out")
            return Numbers(arrays, opened.outputs, opened.preprocessing.class_offset)
        values = {key: boxes_of_array(array, key) for key, own in arrays.items() for array in own.values()}
        notes.append("the device's rows of six are read as x1, y1, x2, y2, score and class, counted from 0")
    if shards.dataset != "coco":
        raise UsageError(f"{options.outputs} has boxes, and {shards.root} has classes: give the model's scores")
    boxes = _in_source(options, shards, given, {k: v for k, v in values.items() if not isinstance(v, dict)})
    reader = kind_for(shards.dataset, opened.preprocessing).reader(opened.preprocessing, opened.inputs, opened.outputs)
    return Detections(boxes, reader, notes)


def _are_detections(shards: Shards, arrays: Mapping[str, Arrays], outputs: Outputs) -> bool:
    """Whether arrays are boxes: one per image, in rows of six, unlike any output of the model."""
    shapes = [of_image(output, 0, 1).squeeze().shape for output in outputs.values()]
    return shards.dataset == "coco" and all(
        len(own) == 1 and array.ndim and array.shape[-1] == 6 and array.squeeze().shape not in shapes
        for own in arrays.values()
        for array in own.values()
    )


def _in_source(options: MatchOptions, shards: Shards, given: Given, boxes: Mapping[str, Boxes]) -> Mapping[str, Boxes]:
    """Boxes in source pixels, of annotated images. Raises UsageError if there are none."""
    found = {}
    for stored in shards.stored(shards.reference.name, frozenset(boxes)):
        info = shards.info(stored)
        if given.numbered and info["image_id"] != int(stored.key):
            raise UsageError(
                f"{options.outputs}: image {int(stored.key)} is {stored.key} by its name, and another image by the "
                "annotations: give each result its `key` instead of image_id"
            )
        if info["image_id"] >= 0:
            found[stored.key] = _moved(boxes[stored.key], info) if options.boxes == "shard" else boxes[stored.key]
    if not found:
        raise UsageError(f"{options.outputs} has only images without annotations in {shards.root}: give others")
    return found


def _moved(boxes: Boxes, info: Mapping[str, Any]) -> Boxes:
    """Boxes in a shard's pixels moved to those of the source: (output + crop) / scale."""
    scale = np.array([info["scale_x"], info["scale_y"]] * 2)
    crop = np.array([info["crop_x"], info["crop_y"], 0, 0])
    return np.concatenate([(boxes[:, :4] + crop) / scale, boxes[:, 4:]], axis=1)


def _noises(comparison: Comparison) -> Iterator[Method]:
    for method in METHODS.values():
        if method.stage in MODEL_STAGES and (method.stage != "boxes" or comparison.decoded):
            yield method


def _is_near(trials: Trials, places: Sequence[Place], tried: Sequence[Tried], keys: Sequence[str]) -> bool:
    few = keys[:FEW]
    first = places[0].candidates[0]
    own = next(one for one in tried if one.candidate == first)
    others = [place.candidates[0] for place in places[1:]]
    between = trials.measure(others, few, trials.answers(first, few))
    return is_near(float(np.mean([one.mean for one in own.apart])), between)


def _notes(
    given: Given, shared: Sequence[str], keys: Sequence[str], trials: Trials, comparison: Comparison
) -> Iterator[str]:
    if given.others:
        yield skipped(given.others, "output")
    if failed := len(given.keys) - len(shared):
        yield f"left out {number_of(failed, 'image')}: the sample failed in a variant of the shards"
    if len(keys) < len(shared):
        yield f"{len(keys):,} of {len(shared):,} images were compared, drawn by a hash of the key"
    by_reason: dict[str, list[str]] = {}
    for name, reason in trials.reasons.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, own in by_reason.items():
        yield f"the model was not tried with {', '.join(own)}: {reason}"
