"""What `results.json` records about what was scored and how, so that reports can be compared and made again.

`set` identifies the images. Digests of the scored samples' keys, of the keys with their files' digests, and of the
ground truth (None for label maps) do not depend on the size that the images were resized to; those of the configuration
and of each `manifest.json` identify the shards. `scored_with` has everything else that decides the figures.
`parameters`, `bytes` and `sha256` are the model's, or None if predictions were scored. Reports of earlier versions have
none of this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifests.canonical import digest
from manifests.images import CLASSIFIED
from manifests.schema import SUMMARY
from manifests.untrusted import LARGEST_JSON
from pipelines.evaluate.options import Options
from pipelines.evaluate.results import Results
from pipelines.shards import FinishedVariant, Shards

_NO_MODEL: Mapping[str, Any] = {"parameters": None, "bytes": None, "sha256": None}


def evidence(results: Results, options: Options) -> dict[str, Any]:
    """The fields of `results.json` that are not figures."""
    return {**_model(results.file), "set": scored_set(results), "scored_with": _scored_with(results, options)}


def _model(file: str | None) -> dict[str, Any]:
    if file is None:
        return dict(_NO_MODEL)
    from pipelines.evaluate.model.facts import model_facts  # scoring predictions never needs it

    return model_facts(Path(file))


def scored_set(results: Results) -> dict[str, Any]:
    """The images, their ground truth and the shards that were scored."""
    shards, keys = results.shards, list(results.keys)
    columns = shards.reference.table("key", "source_sha256", "label").to_pydict()
    rows = dict(zip(columns["key"], zip(columns["source_sha256"], columns["label"], strict=True), strict=True))
    truth = [rows[key][1] for key in keys]
    return {
        "keys_sha256": digest(keys),
        "images_sha256": digest([[key, rows[key][0]] for key in keys]),
        "truth_sha256": digest(truth) if shards.dataset in CLASSIFIED else _annotations(shards),
        "config_sha256": shards.reference.summary["config_sha256"],
        "manifests": {name: _manifest(variant) for name, variant in _of_pixels(results).items()},
    }


def _annotations(shards: Shards) -> str | None:
    found: str | None = shards.config["source"].get("annotations_sha256")
    return found


def _of_pixels(results: Results) -> dict[str, FinishedVariant]:
    """The variants of the pixels behind the scored variants."""
    scored = [results.shards.variants[line.name] for line in (results.reference, *results.lines)]
    return {variant.pixels: variant for variant in scored}


def _manifest(variant: FinishedVariant) -> str:
    return hashlib.sha256((variant.folder / SUMMARY).read(LARGEST_JSON)).hexdigest()


def _scored_with(results: Results, options: Options) -> dict[str, Any]:
    """How metrics were resampled, if they were, and how predictions were read, unless by default."""
    resampled = {"resamples": len(results.reference.basis), "seed": options.seed or 0}
    read: dict[str, Any] = {"boxes": options.boxes, "class_offset": options.class_offset}
    if results.file is not None:  # a model's own predictions are read as they are
        read = {"calibration": options.noise.calibration}
    not_default = {name: value for name, value in read.items() if value is not None}
    return {**(resampled if results.metric != "top1" else {}), **not_default}
