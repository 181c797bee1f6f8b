"""The calibration data of int8: the reference's spectrograms, or ids, of the first recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import pyarrow.compute as pc

from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Cell
from pipelines.evaluate.model.noised import Images
from pipelines.evaluate.speech.predict import Recordings
from pipelines.evaluate.speech.signature import Array, Takes
from pipelines.options import CALIBRATION
from pipelines.text import number_of


def calibration(recordings: Recordings, plain: Cell, takes: Takes, count: int | None) -> Images:
    """The first `count` recordings (default: at most `CALIBRATION`) as a model's inputs.

    Raises UsageError if there are fewer than `count`.
    """
    table = recordings.shards.reference.table("key", "status", "mel_sha256")
    used = table.filter(pc.equal(table["status"], "ok")).slice(0, count or CALIBRATION)
    if len(used) < (count or 1):
        raise UsageError(
            f"--calibration {count or CALIBRATION} needs more than the set's {number_of(len(used), 'recording')}"
        )
    digests = dict(zip(used["key"].to_pylist(), used["mel_sha256"].to_pylist(), strict=True))

    def feeds() -> Iterator[Mapping[str, Array]]:
        given = (one for piece in recordings.pieces(plain) for one in recordings.of(plain, piece))
        return (takes.feed(values) for _, values in islice(given, len(digests)))

    facts = {
        "reference": recordings.shards.reference.name,
        "shards": str(recordings.shards.reference.summary["config_sha256"]),
        "ids": recordings.ids.sha256 if recordings.ids else None,
        "recordings": [{"key": key, "mel_sha256": digest} for key, digest in digests.items()],
    }
    return Images(feeds, facts)
