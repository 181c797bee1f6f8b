"""The signal-to-noise ratio of every tensor of a model, for several variants of the model or its pixels.

There are two ratios. One is of a tensor in the noised model, with the noise of everything before it. The other is of a
node alone, whose inputs are the reference's tensors: the noise of its own weights, and of rounding its inputs; `effect`
measures what that does to the outputs. Few tensors are in memory at a time: the model runs once for each group of them.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from generators.models import graph
from generators.models.taps import Tapped, Tensor
from pipelines.ahead import in_order
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.layers.effect import Effects
from pipelines.evaluate.layers.ratio import Ratio, ratio
from pipelines.evaluate.layers.session import Array, TapSession
from pipelines.evaluate.model.cells import Cell, Noised
from pipelines.progress import Advance, counted

# Bytes of a group's tensors in single precision; a single tensor may have more.
_GROUP = 2**26
Shape = tuple[int, ...]
# From a variant's name to its batches; each call starts over.
Read = Callable[[str], Iterator[Array]]


@dataclass(frozen=True)
class Layer:
    """A variant's tensor against the reference's, in decibels; None is undefined, infinity is exact.

    `snr` is the tensor's ratio, `drop` how far it is below the worst input of its node, `alone` the ratio of its node
    alone, `weights` that of its node's weights, and `effect` that of the worst output if only its node is noisy.
    `shape` is that of one batch, and `other` the noised model's, or None if it has no such tensor. Tensors of different
    shapes are not compared.
    """

    tensor: Tensor
    shape: Shape
    other: Shape | None
    snr: float | None = None
    drop: float | None = None
    alone: float | None = None
    weights: float | None = None
    effect: float | None = None

    @property
    def compared(self) -> bool:
        return self.other == self.shape


def measure(
    model: Noised, pixels: str, cells: Sequence[Cell], read: Read, batches: int, threads: int
) -> list[list[Layer]]:
    """Each cell's tensors against those of `model` on the reference's `pixels`, in graph order.

    The figures do not depend on the number of threads. Raises UsageError if a model cannot run, and RunError if the
    models that are run cannot be written to disk.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="sysnoise-") as folder:
            return _Bench(model, pixels, cells, read, Path(folder)).measure(batches, threads)
    except graph.ModelError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise RunError(
            f"the temporary models that output their tensors cannot be written ({error.strerror or error})"
        ) from None


_Ratios = dict[str, Ratio]


class _Found(NamedTuple):
    """The ratios of a cell's tensors, and of their nodes alone."""

    whole: _Ratios
    alone: _Ratios


class _Subject:
    """A cell, and which of its tensors can be compared: in the `whole` model, and with their node `alone`."""

    def __init__(self, cell: Cell, tapped: Tapped, shapes: Mapping[str, Shape], own: Mapping[str, Shape]) -> None:
        self.cell, self.tapped, self.shapes = cell, tapped, shapes
        self.whole = {name for name, shape in shapes.items() if shape == own[name]}
        inputs = {tensor.name: tensor.inputs for tensor in tapped.tensors if tensor.inputs and cell.model.name}
        self.alone = {name for name in self.whole & inputs.keys() if self.whole.issuperset(inputs[name])}


class _Runner:
    """Computes a subject's tensors of one group."""

    def __init__(self, subject: _Subject, group: Sequence[str], folder: Path) -> None:
        cell, tapped = subject.cell, subject.tapped
        self._pixels = cell.variant.pixels
        self._whole = [name for name in group if name in subject.whole]
        self._alone = [name for name in group if name in subject.alone]
        self._sessions: list[TapSession] = []
        path = folder / "tensors.onnx"
        if self._whole:
            tapped.write_values((tapped.taps[name].taken for name in self._whole), path)
            self._sessions.append(TapSession(path, cell.name))
        self._given = tapped.write_apart(self._alone, path) if self._alone else {}
        if self._alone:
            self._sessions.append(TapSession(path, cell.name))
        # The reference's tensors that are needed.
        self.needed = {*self._whole, *self._given}

    def run(self, batch: Mapping[str, Array], own: Mapping[str, Array]) -> _Found:
        """The ratios of a batch (pixels by variant), given the reference's tensors."""
        whole: _Ratios = {}
        alone: _Ratios = {}
        if self._whole:
            found = self._sessions[0].run(batch[self._pixels])
            whole = {name: ratio(own[name], one) for name, one in zip(self._whole, found, strict=True)}
        if self._alone:
            given = {value: own[name] for name, value in self._given.items()}
            found = self._sessions[-1].run(batch[self._pixels], given)
            alone = {name: ratio(own[name], one) for name, one in zip(self._alone, found, strict=True)}
        return _Found(whole, alone)

    def stop(self) -> None:
        for session in self._sessions:
            session.stop()


class _Bench:
    """The reference's model and those of the cells; `folder` is for the models that are run."""

    def __init__(self, model: Noised, pixels: str, cells: Sequence[Cell], read: Read, folder: Path) -> None:
        self._pixels, self._read, self._folder = pixels, read, folder
        self._names = list(dict.fromkeys([pixels, *(cell.variant.pixels for cell in cells)]))
        self._first = {name: next(read(name)) for name in self._names}
        self._own = Tapped(model.path)
        self._shapes = self._shapes_of(self._own, pixels)
        tapped = {model.key: self._own}
        for cell in cells:
            if cell.model.key not in tapped:
                tapped[cell.model.key] = Tapped(cell.model.path, self._own.tensors)
        own = self._shapes
        self._subjects = [
            _Subject(cell, tapped[cell.model.key], self._shapes_of(tapped[cell.model.key], cell.variant.pixels), own)
            for cell in cells
        ]

    def measure(self, batches: int, threads: int) -> list[list[Layer]]:
        groups = list(self._groups())
        found = [_Found({}, {}) for _ in self._subjects]
        with counted(len(groups) * batches, "batch", "batches measured") as advance:
            for group in groups:
                self._measure(group, found, threads, advance)
        return [
            list(
                self._layers(subject, ratios, self._weights(subject), self._effects(subject, ratios, batches, threads))
            )
            for subject, ratios in zip(self._subjects, found, strict=True)
        ]

    def _shapes_of(self, tapped: Tapped, pixels: str) -> dict[str, Shape]:
        path = self._folder / "shapes.onnx"
        tapped.write_shapes((tap.taken for tap in tapped.taps.values()), path)
        found = TapSession(path, "the model").run(self._first[pixels])
        return {name: tuple(map(int, shape)) for name, shape in zip(tapped.taps, found, strict=True)}

    def _groups(self) -> Iterator[list[str]]:
        group: list[str] = []
        size = 0
        for tensor in self._own.tensors:
            more = 4 * math.prod(self._shapes[tensor.name])
            if group and size + more > _GROUP:
                yield group
                group, size = [], 0
            group.append(tensor.name)
            size += more
        yield group

    def _measure(self, group: Sequence[str], found: Sequence[_Found], threads: int, advance: Advance) -> None:
        """Add a group's ratios over all batches to `found`."""
        runners = [_Runner(subject, group, self._folder) for subject in self._subjects]
        needed = list(set[str]().union(*(runner.needed for runner in runners)))
        if not needed:
            return
        path = self._folder / "reference.onnx"
        self._own.write_values((self._own.taps[name].taken for name in needed), path)
        session = TapSession(path, "the model")

        def ratios(batch: Mapping[str, Array]) -> list[_Found]:
            own = dict(zip(needed, session.run(batch[self._pixels]), strict=True))
            return [runner.run(batch, own) for runner in runners]

        def stop() -> None:
            session.stop()
            for runner in runners:
                runner.stop()

        streams = [self._read(name) for name in self._names]
        batches = (dict(zip(self._names, batch, strict=True)) for batch in zip(*streams, strict=True))
        with closing(in_order(ratios, batches, threads, stop)) as results:
            for of_batch in results:
                for sums, more in zip(found, of_batch, strict=True):
                    for into, other in zip(sums, more, strict=True):
                        for name, one in other.items():
                            into[name] = into.get(name, Ratio()).plus(one)
                advance("tensors", 1)

    def _weights(self, subject: _Subject) -> _Ratios:
        """The ratios of the weights of each tensor's node; empty if the model is not noised."""
        tapped = subject.tapped
        if tapped is self._own:
            return {}
        pairs = {tensor.name: self._own.weights(tensor, tapped) for tensor in self._own.tensors}
        mine = self._values(self._own, dict.fromkeys(own for of_node in pairs.values() for own, _ in of_node))
        theirs = self._values(tapped, dict.fromkeys(other for of_node in pairs.values() for _, other in of_node))
        ratios: _Ratios = {}
        for name, of_node in pairs.items():
            for own, other in of_node:
                ratios[name] = ratios.get(name, Ratio()).plus(ratio(mine[own], theirs[other]))
        return ratios

    def _values(self, tapped: Tapped, names: Collection[str]) -> dict[str, Array]:
        """Values of a model that do not depend on its input."""
        if not names:
            return {}
        path = self._folder / "weights.onnx"
        tapped.write_values(names, path)
        found = TapSession(path, "the model").run(self._first[self._pixels])
        return dict(zip(names, found, strict=True))

    def _effects(self, subject: _Subject, found: _Found, batches: int, threads: int) -> dict[str, float]:
        effects = Effects(self._own, subject.tapped, subject.cell.name, self._folder)
        return effects.measure(found.alone, lambda: self._read(self._pixels), batches, threads)

    def _layers(
        self, subject: _Subject, found: _Found, weights: Mapping[str, Ratio], effects: Mapping[str, float]
    ) -> Iterator[Layer]:
        whole, alone, own = ({name: one.decibels for name, one in some.items()} for some in (*found, weights))
        for tensor in self._own.tensors:
            name = tensor.name
            shapes = self._shapes[name], subject.shapes.get(name)
            drop = _drop(whole.get(name), [whole.get(before) for before in tensor.inputs])
            yield Layer(tensor, *shapes, whole.get(name), drop, alone.get(name), own.get(name), effects.get(name))


def _drop(after: float | None, before: Sequence[float | None]) -> float | None:
    """How much lower a ratio is than the lowest of those before it; None if any is unknown."""
    known = [one for one in before if one is not None]
    if after is None or not known or len(known) < len(before):
        return None
    lowest = min(known)
    return 0.0 if lowest == after else lowest - after
