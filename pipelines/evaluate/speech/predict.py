"""Runs a speech model over recordings, and keeps its outputs as spectrograms, one file for each variant.

The reference's own operator turns a waveform into a spectrogram. Recordings are predicted in pieces, which are written
atomically: after a kill, the same command continues. If a noised model fails or returns NaN or infinity, only its own
predictions are lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.audio.settings import MelSettings
from pipelines.ahead import in_order
from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import Cell
from pipelines.evaluate.model.kept import Kept, open_kept
from pipelines.evaluate.speech.ids import Ids
from pipelines.evaluate.speech.model import SpeechModel
from pipelines.evaluate.speech.npz import Arrays
from pipelines.progress import Advance, counted
from pipelines.shards import Shards
from pipelines.store.files import replacing
from pipelines.text import number_of

# Recordings in a piece, the work that can be lost if a run is killed.
_PIECE = 64

Array = NDArray[Any]
Given = Iterator[tuple[str, Array]]


@dataclass(frozen=True)
class Piece:
    """The recordings `first` to `stop` (exclusive) of a shard."""

    shard: int
    first: int
    stop: int

    @property
    def place(self) -> str:
        """A name that sorts in the order of recordings."""
        return f"{self.shard:05d}-{self.first:05d}-{self.stop:05d}"


@dataclass(frozen=True)
class Recordings:
    """The inputs of models: each cell's own spectrograms or, if there are `ids`, those of its recordings."""

    shards: Shards
    ids: Ids | None

    @property
    def settings(self) -> MelSettings:
        return MelSettings(**self.shards.config["mel"])

    def pieces(self, cell: Cell) -> list[Piece]:
        """All of a cell's recordings, in order."""
        counts = [int(shard["samples"]) for shard in cell.variant.summary["shards"]]
        return [
            Piece(number, first, min(first + _PIECE, count))
            for number, count in enumerate(counts)
            for first in range(0, count, _PIECE)
        ]

    def of(self, cell: Cell, piece: Piece) -> Given:
        """The key of each recording in a piece, and the model's input for it."""
        for stored in self.shards.of_shard(cell.variant, piece.shard, range(piece.first, piece.stop)):
            yield stored.key, self.ids.by_key[stored.key] if self.ids else self.shards.mel(stored)

    def first(self, cell: Cell) -> Array:
        """The model's input for the first recording. Raises UsageError if there is none."""
        for piece in self.pieces(cell):
            return next(self.of(cell, piece))[1]
        raise UsageError(f"{cell.variant.folder} has no recordings")


class Predictor:
    """Predicts cells, in several threads. `gives` says which output of the model is read, and how."""

    def __init__(self, recordings: Recordings, plain: Cell, threads: int) -> None:
        """`plain` is the reference with the unchanged model. Raises UsageError if none of its outputs can be read."""
        self._recordings, self._plain, self._threads = recordings, plain, threads
        self._settings = recordings.settings
        self._stft = recordings.shards.base.method("stft")
        self.gives = SpeechModel(plain.model, self._settings.bands).gives(recordings.first(plain))

    def predict(self, cells: Sequence[Cell], folder: Path, runtime: Mapping[str, str]) -> dict[str, str]:
        """Predict the cells that a folder lacks; returns why some have no predictions, by name.

        Raises UsageError if the reference cannot be predicted, or the folder has predictions of another model.
        """
        reasons: dict[str, str] = {}
        with open_kept(folder, Arrays(), self._made_by(runtime), [cell.name for cell in cells]) as kept:
            wanted = [cell for cell in cells if not kept.has(cell)]
            pieces = (piece for cell in wanted for piece in self._recordings.pieces(cell))
            total = sum(piece.stop - piece.first for piece in pieces)
            with counted(total, "rec", "recordings predicted") as advance:
                for cell in wanted:
                    try:
                        self._keep(kept, cell, cells, advance)
                    except UsageError as error:
                        if cell.name == self._plain.name:
                            raise
                        reasons[cell.name] = str(error)
                        kept.fail(cell, str(error), forever=False)
            kept.clear()
        return reasons

    def _made_by(self, runtime: Mapping[str, str]) -> dict[str, Any]:
        ids, waveform = self._recordings.ids, self.gives.what == "waveform"
        return {
            "model": self._plain.model.sha256,
            "ids": ids.sha256 if ids else None,
            "output": self.gives.name,
            "stft": {self._stft.token: self._stft.library.versions()} if waveform else None,
            **runtime,
            "shards": str(self._recordings.shards.reference.summary["config_sha256"]),
            "device": "cpu",
        }

    def _keep(self, kept: Kept, cell: Cell, cells: Sequence[Cell], advance: Advance) -> None:
        """Predict a cell, or copy the predictions of one that must be the same."""
        pieces = self._recordings.pieces(cell)
        twin = next((one for one in cells if one.key == cell.key and one is not cell and kept.has(one)), None)
        if twin is not None:
            kept.copy(twin, cell)
            advance(cell.name, sum(piece.stop - piece.first for piece in pieces))
            return
        model = SpeechModel(cell.model, self._settings.bands)
        for piece in pieces:
            part = kept.parts / cell.sha256 / f"{piece.place}{kept.form.suffix}"
            if not part.exists():
                rows = self._rows(model, self._recordings.of(cell, piece))
                with replacing(part) as partial:
                    kept.form.write(rows, partial)
            advance(cell.name, piece.stop - piece.first)
        kept.join(cell, [piece.place for piece in pieces])

    def _rows(self, model: SpeechModel, given: Given) -> list[tuple[str, Array]]:
        with contextlib.closing(in_order(lambda one: self._row(model, *one), given, self._threads, model.stop)) as rows:
            return list(rows)

    def _row(self, model: SpeechModel, key: str, values: Array) -> tuple[str, Array]:
        """A model's spectrogram for a recording. Raises UsageError if it is not finite or the waveform has none."""
        found = model.run(values, self.gives)
        if bad := int(np.count_nonzero(~np.isfinite(found))):
            raise UsageError(f"{model.name} returns NaN or infinity in {number_of(bad, 'value')} for {key}")
        if self.gives.what == "mels":
            return key, found
        try:
            return key, self._stft.load_audio()(found.astype(np.float32), self._settings)
        except ValueError as error:
            raise UsageError(f"{model.name} returns a waveform for {key} that has no spectrogram ({error})") from None
