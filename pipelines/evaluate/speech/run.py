"""A whole scoring of speech, from options to a finished report: what `score.py` does with a set of spectrograms.

What can be refused is refused before a model runs, and no report is written before all is known.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.errors import RunError, UsageError
from pipelines.evaluate.keys import check_keys
from pipelines.evaluate.options import Options
from pipelines.evaluate.speech import text
from pipelines.evaluate.speech.arrays import Spectrograms, open_arrays
from pipelines.evaluate.speech.distance import Distances, distances, mels
from pipelines.evaluate.speech.doubt import doubt
from pipelines.evaluate.speech.given import Scored, of_predictions
from pipelines.evaluate.speech.of_model import OfModel
from pipelines.evaluate.speech.results import Results, as_json, compare
from pipelines.evaluate.speech.suited import check_suited
from pipelines.evaluate.statistics import Bootstrap, enough_resamples
from pipelines.files import put
from pipelines.progress import Advance, counted, say
from pipelines.shards import Shards
from pipelines.store import Place, path_of, place_of
from pipelines.work.cluster import Ray

# Recordings of the reference by which it is seen whether predictions are what they should be.
_LOOKED_AT = 32


def score_speech(options: Options) -> int:
    """Score a model or its predictions on a set of speech, and write the report; the exit status."""
    check_suited(options)
    if options.model is not None:  # what is made of it lies beside the report
        path_of(options.model, "--model")
        path_of(options.output, "--output")
    output = place_of(options.output, "--output")
    try:
        results = _of_model(options) if options.model is not None else _of_predictions(options)
    except KeyboardInterrupt:
        raise RunError("stopped: what is whole is kept, and the same command continues") from None
    if results is None:
        return 0
    _write(output, results)
    print(text.terminal(results, str(output) if "://" in options.output else options.output))
    return 0


def _of_predictions(options: Options) -> Results:
    with of_predictions(options) as scored:
        return _results(options, scored)


def _of_model(options: Options) -> Results | None:
    """The results of a model; None for the plan alone."""
    model = OfModel(options)
    if options.dry_run:
        print(model.plan())
        return None
    say(model.plan())
    with contextlib.closing(Ray(options.run_by)) as ray:
        return _results(options, model.scored(ray))


def _results(options: Options, scored: Scored) -> Results:
    shards = scored.shards
    keys = shards.shared_keys()
    if not keys:
        raise UsageError(f"{shards.root} has no recording that is there in every variant: there is nothing to score")
    found, reasons, taken = dict[str, Distances](), dict(scored.reasons), list(scored.notes)
    with counted(len(scored.paths) * len(keys), "rec", "recordings compared") as advance:
        for name, path in scored.paths.items():
            try:
                found[name], turned = _distances(scored, name, path, keys, advance)
            except UsageError as error:
                # Predictions that somebody has made are theirs to mend; what a model gives for a variant is a finding.
                if options.model is None or name == shards.reference.name:
                    raise
                reasons[name] = str(error)
                continue
            if turned and options.model is None:
                taken.append(f"{path} has frames × bands, and is read so.")
    name, looked_at = shards.reference.name, keys[:_LOOKED_AT]
    draw = Bootstrap(options.resamples or enough_resamples(len(found) - 1), options.seed or 0)
    return replace(
        compare(_name(options), shards.only(found), scored.against, found, draw),
        taken=list(dict.fromkeys(taken)),
        not_applicable=reasons,
        doubt=_doubt(shards, scored.paths[name], looked_at),
    )


def _distances(scored: Scored, name: str, path: Path, keys: Sequence[str], advance: Advance) -> tuple[Distances, bool]:
    """A variant's distances, and whether its predictions lie as frames × bands."""
    shards = scored.shards
    truth = name if scored.against == "variant" else shards.reference.name
    with open_arrays(path) as arrays:
        # Recordings that failed in another variant may have predictions.
        own = {*shards.variants[name].keys(), *shards.reference.keys()} - set(keys)
        check_keys(path, keys, set(arrays.keys) - own)
        predicted = Spectrograms(arrays, keys, shards.config["mel"]["bands"])
        return distances(shards, truth, keys, predicted, lambda: advance(name, 1)), predicted.turned


def _doubt(shards: Shards, path: Path, keys: Sequence[str]) -> str:
    """Why the reference's predictions cannot be believed."""
    with open_arrays(path) as arrays:
        predicted = Spectrograms(arrays, keys, shards.config["mel"]["bands"])
        return doubt((predicted.mel(key), mel) for key, mel in mels(shards, shards.reference.name, keys))


def _name(options: Options) -> str:
    scored = options.model or options.predictions or ""
    path = urlsplit(scored).path if "://" in scored else scored
    return " ".join((options.name or Path(path).resolve().stem).split())


def _write(output: Place, results: Results) -> None:
    """Put the report's files in place, when all of them are made."""
    from pipelines.evaluate.speech.page import page  # imports what draws, which a refusal need not wait for

    files = {
        "report.html": page(results),
        "report.md": text.markdown(results),
        "results.csv": text.as_csv(results),
        "results.json": json.dumps(as_json(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, content in files.items():
        put(output / name, content.encode())
