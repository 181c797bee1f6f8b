"""Predictions of mels that were made elsewhere: which file or folder is for which variant, and what each is compared
with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.evaluate.asked import asked_variants
from pipelines.evaluate.fetched import fetched
from pipelines.evaluate.options import Options
from pipelines.evaluate.predictions import find_predictions
from pipelines.evaluate.speech.arrays import ZIP
from pipelines.evaluate.speech.results import Against
from pipelines.progress import say
from pipelines.shards import Shards, open_shards
from pipelines.store import Place, place_of


@dataclass(frozen=True)
class Scored:
    """Predictions on this machine, by variant of `shards`; what they are compared with; why some variants have none;
    and `notes` for the user.
    """

    shards: Shards
    paths: Mapping[str, Path]
    against: Against
    reasons: Mapping[str, str]
    notes: Sequence[str]


@contextlib.contextmanager
def of_predictions(options: Options) -> Iterator[Scored]:
    """Predictions that were made elsewhere, while the block runs. Raises UsageError for those of no variant."""
    assert options.predictions is not None
    everything = open_shards(place_of(options.shards, "--shards"))
    if not everything.speech:
        raise UsageError(
            f"--dataset {options.dataset}, but {everything.root} has shards of {everything.dataset}: leave out "
            "--dataset, or give --shards another folder"
        )
    for note in everything.notes:
        say(note)
    asked, named = asked_variants(everything, options.variants)
    folder = place_of(options.predictions, "--predictions")
    everything, places = find_predictions(folder, everything, (ZIP,), folders=True)
    wanted = everything.only([variant.name for variant in asked]) if options.variants else everything
    with _on_disk({name: place for name, place in places.items() if name in wanted.variants}) as paths:
        found = _scored(wanted, paths, options.against or "reference")
        # A named variant with model noise is in no shards, so that it must be looked up by itself.
        lacking = [v.name for v in named if v.name not in found.paths and v.name not in wanted.variants]
        yield replace(found, notes=[*found.notes, *_not_scored(lacking)])


def _scored(wanted: Shards, paths: Mapping[str, Path], against: Against) -> Scored:
    """The variants that have predictions. If variants are compared with their own mels and only the reference has
    predictions, these stand for all: a model that never sees mels predicts the same for every variant.
    """
    base = wanted.reference.name
    lacking = [name for name in wanted.variants if name not in paths]
    if not lacking:
        return Scored(wanted, paths, against, {}, [])
    if against == "variant" and list(paths) == [base]:
        note = f"Only {base} has predictions: they are compared with the mels of every variant."
        return Scored(wanted, dict.fromkeys(wanted.variants, paths[base]), against, {}, [note])
    return Scored(wanted.only(paths), paths, against, {}, _not_scored(lacking))


def _not_scored(names: Sequence[str]) -> list[str]:
    return [f"Not scored, for lack of predictions: {', '.join(names)}."] if names else []


@contextlib.contextmanager
def _on_disk(places: Mapping[str, Place]) -> Iterator[Mapping[str, Path]]:
    """Each variant's `.npz` or folder as a local path while the block runs, in the order of variants."""
    files = {name: place for name, place in places.items() if place.suffix == ZIP and not place.is_dir()}
    folders = {name: place for name, place in places.items() if name not in files}
    with fetched(files, folders=False) as there, fetched(folders, folders=True) as more:
        found = {**there, **more}
        yield {name: found[name] for name in places}
