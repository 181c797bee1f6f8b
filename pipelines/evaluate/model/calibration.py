"""The images that ranges are found on: some of the reference's, drawn by a hash of the key.

So the same are drawn whatever the order of files, and a larger number holds the smaller one. The reference stands for
what the model was trained on: ranges are found before it meets the noise of a device.
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

# Ranges from fewer images are seldom those of the rest.
_FEW = 32


def calibration(shards: Shards, model: Path, preprocessing: Preprocessing, count: int | None) -> Images:
    """`count` images of the reference, or at most `CALIBRATION`, as the model takes them.

    Raises UsageError where there are fewer than were asked for, or none.
    """
    table = shards.reference.table("key", "status", "pixel_sha256")
    there = table.filter(pc.equal(table["status"], "ok"))
    hashes = dict(zip(there["key"].to_pylist(), there["pixel_sha256"].to_pylist(), strict=True))
    if len(hashes) < (count or 1):
        raise too_few(count, len(hashes))
    keys = by_hash(hashes)[: count or CALIBRATION]
    if len(keys) < min(count or CALIBRATION, _FEW):
        say(f"ranges of int8 are found on {len(keys)} images only: on so few they are seldom those of the rest")
    elif count is None and len(keys) < CALIBRATION:
        say(f"ranges of int8 are found on all {len(keys)} images of the reference, where {CALIBRATION} are usual")
    facts = {
        "reference": shards.reference.name,
        "shards": str(shards.reference.summary["config_sha256"]),
        "preprocessing": stated(preprocessing),
        "images": [{"key": key, "pixel_sha256": hashes[key]} for key in sorted(keys)],
    }
    return Images(lambda: batches(shards, shards.reference.name, frozenset(keys), model, preprocessing), facts)


def too_few(count: int | None, there: int) -> UsageError:
    """What is said where there are not as many images as were asked for, or none."""
    wanted = f"--calibration {count}" if count else "int8"
    return UsageError(f"{wanted} needs more images to find ranges on than the {there:,} of the reference")


def stated(preprocessing: Preprocessing) -> dict[str, Any]:
    """What decides a model's input, as plain JSON values."""
    names = ("mean", "std", "scale", "channels", "layout", "pad", "placement", "size")
    values = asdict(preprocessing)
    return {name: list(value) if isinstance(value := values[name], tuple) else value for name in names}


def by_hash(keys: Iterable[str]) -> list[str]:
    """Keys in the order in which they are drawn."""
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())


def batches(
    shards: Shards, variant: str, keys: frozenset[str], model: Path, preprocessing: Preprocessing
) -> Iterator[NDArray[np.generic]]:
    """A variant's images as the model takes them: batches of its own size, the last filled up with its last image."""
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
