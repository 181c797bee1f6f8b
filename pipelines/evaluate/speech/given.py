"""Predictions of mels that were made elsewhere: which file or folder is whose, and what each is compared with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
    """Predictions on this machine by the variant that they are of, among `shards`; what they are compared with; why
    some variants have none; and `notes` for the user.
    """

    shards: Shards
    paths: Mapping[str, Path]
    against: Against
    reasons: Mapping[str, str]
    notes: Sequence[str]


@contextlib.contextmanager
def of_predictions(options: Options) -> Iterator[Scored]:
    """Predictions that were made elsewhere, while the block runs. Raises UsageError where some are nobody's."""
    assert options.predictions is not None
    everything = open_shards(place_of(options.shards, "--shards"))
    for note in everything.notes:
        say(note)
    asked, named = asked_variants(everything, options.variants)
    folder = place_of(options.predictions, "--predictions")
    everything, places = find_predictions(folder, everything, (ZIP,), folders=True)
    wanted = everything.only([variant.name for variant in asked]) if options.variants else everything
    with _on_disk({name: place for name, place in places.items() if name in wanted.variants}) as paths:
        found = _scored(wanted, paths, options.against or "reference")
        # Noise in the model that is named and has no file is among no shards.
        lacking = [v.name for v in named if v.name not in found.paths and v.name not in wanted.variants]
        yield replace(found, notes=[*found.notes, *_not_scored(lacking)])


def _scored(wanted: Shards, paths: Mapping[str, Path], against: Against) -> Scored:
    """The variants that have predictions. Those of the reference alone stand for all where each is compared with its
    own mels, since what knows nothing of mels predicts the same for all.
    """
    base = wanted.reference.name
    lacking = [name for name in wanted.variants if name not in paths]
    if not lacking:
        return Scored(wanted, paths, against, {}, [])
    if against == "variant" and list(paths) == [base]:
        note = f"There are predictions of {base} alone: they are compared with the mels of every variant."
        return Scored(wanted, dict.fromkeys(wanted.variants, paths[base]), against, {}, [note])
    return Scored(wanted.only(paths), paths, against, {}, _not_scored(lacking))


def _not_scored(names: Sequence[str]) -> list[str]:
    return [f"Not scored, for there are no predictions: {', '.join(names)}."] if names else []


@contextlib.contextmanager
def _on_disk(places: Mapping[str, Place]) -> Iterator[Mapping[str, Path]]:
    """Each variant's `.npz`, or its folder, as a path while the block runs; in the order of variants."""
    files = {name: place for name, place in places.items() if place.suffix == ZIP and not place.is_dir()}
    folders = {name: place for name, place in places.items() if name not in files}
    with fetched(files, folders=False) as there, fetched(folders, folders=True) as more:
        found = {**there, **more}
        yield {name: found[name] for name in places}
