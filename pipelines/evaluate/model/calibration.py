"""Calibration images for int8: a sample of the reference, drawn by a hash of the key.

The sample does not depend on the order of files, and a larger one contains every smaller one. The reference stands for
the training data: a model is calibrated before it meets the noise of a device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import as_it_is
from pipelines.evaluate.model.inputs import fitting
from pipelines.evaluate.model.noised import Images
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.readers import detects
from pipelines.evaluate.model.runtimes import open_session
from pipelines.options import CALIBRATION
from pipelines.progress import say
from pipelines.shards import Shards
from pipelines.text import number_of

# Ranges found on fewer images rarely fit the rest.
_FEW = 32


def calibration(shards: Shards, model: Path, preprocessing: Preprocessing, count: int | None) -> Images:
    """`count` images of the reference, or up to `CALIBRATION` if it is None, as the model's input.

    Raises UsageError if the reference has fewer than `count` images, or none.
    """
    table = shards.reference.table("key", "status", "pixel_sha256")
    made = table.filter(pc.equal(table["status"], "ok"))
    hashes = dict(zip(made["key"].to_pylist(), made["pixel_sha256"].to_pylist(), strict=True))
    if len(hashes) < (count or 1):
        raise too_few(count, len(hashes))
    keys = by_hash(hashes)[: count or CALIBRATION]
    if len(keys) < min(count or CALIBRATION, _FEW):
        say(f"int8 is calibrated on only {number_of(len(keys), 'image')}: ranges found on so few rarely fit the rest")
    elif count is None and len(keys) < CALIBRATION:
        say(f"int8 is calibrated on all {number_of(len(keys), 'image')} of the reference; {CALIBRATION} are usual")
    facts = {
        "reference": shards.reference.name,
        "shards": str(shards.reference.summary["config_sha256"]),
        "preprocessing": stated(preprocessing),
        "images": [{"key": key, "pixel_sha256": hashes[key]} for key in sorted(keys)],
    }
    return Images(lambda: batches(shards, shards.reference.name, frozenset(keys), model, preprocessing), facts)


def too_few(count: int | None, available: int) -> UsageError:
    """The error for a reference with fewer images than asked for, or none."""
    wanted = f"--calibration {count}" if count else "int8"
    return UsageError(f"{wanted} needs more images to calibrate on than the {available:,} of the reference")


def stated(preprocessing: Preprocessing) -> dict[str, Any]:
    """The settings that decide a model's input, as plain JSON values."""
    names = ("mean", "std", "scale", "channels", "layout", "pad", "placement", "size")
    values = asdict(preprocessing)
    return {name: list(value) if isinstance(value := values[name], tuple) else value for name in names}


def by_hash(keys: Iterable[str]) -> list[str]:
    """Keys in the order in which they are sampled."""
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())


def batches(
    shards: Shards, variant: str, keys: frozenset[str], model: Path, preprocessing: Preprocessing
) -> Iterator[NDArray[np.generic]]:
    """A variant's images as the model's input, in batches of its size; the last is padded with its last image."""
    session = open_session(as_it_is(model), preprocessing.layout, "cpu")
    stored = shards.stored(variant, keys)
    framed = detects(shards.dataset) or preprocessing.head is not None
    inputs = None
    while some := list(islice(stored, session.input.batch or 1)):
        pixels = [shards.pixels(one) for one in some]
        inputs = inputs or fitting(session.input, preprocessing, pixels[0], framed)
        batch = inputs.batch(session.input.batch or 1)
        for place in range(len(batch)):
            one, image = list(zip(some, pixels, strict=True))[min(place, len(some) - 1)]
            inputs.place(one.key, shards.info(one), image, batch[place])
        yield batch.astype(session.input.dtype)
