"""The ratios for people: the worst nodes of each variant, in words, as a table and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.evaluate.layers.measure import Layer, Shape
from pipelines.evaluate.report.words import number
from pipelines.text import number_of, table

WORST = 8
_COLUMNS = (
    "variant",
    "order",
    "node",
    "op",
    "tensor",
    "shape",
    "snr_db",
    "drop_db",
    "effect_db",
    "alone_db",
    "weights_db",
    "note",
)


@dataclass(frozen=True)
class Answer:
    """A variant's tensors, in graph order; `outputs` are the names of the model's outputs.

    `stage` is the stage at which the variant differs from the reference, or `combined`.
    """

    variant: str
    stage: str
    layers: Sequence[Layer]
    outputs: Sequence[str]

    @property
    def worst(self) -> list[Layer]:
        """The nodes to blame, worst first: those whose own noise harms the outputs most if the model is noised, else
        those at which the ratio drops most.
        """
        own = [layer for layer in self.layers if layer.effect is not None and layer.effect < math.inf]
        if own:
            return sorted(own, key=lambda layer: layer.effect or 0.0)[:WORST]
        drops = [layer for layer in self.layers if layer.drop is not None and layer.drop > 0]
        return sorted(drops, key=lambda layer: -(layer.drop or 0.0))[:WORST]

    @property
    def of_nodes(self) -> bool:
        """Whether the worst nodes are ranked by their own noise."""
        return any(layer.effect is not None and layer.effect < math.inf for layer in self.layers)

    @property
    def verdict(self) -> str:
        """The findings in a few sentences."""
        ratios = "; ".join(f"{ratio_text(layer)} at {layer.tensor.name}" for layer in self.ends)
        return " ".join([f"Outputs: {ratios or 'none are floats'}.", *self._blamed(), *self._uncompared()])

    @property
    def tried(self) -> int:
        """The number of nodes whose effect was measured."""
        return sum(layer.effect is not None for layer in self.layers)

    @property
    def ends(self) -> list[Layer]:
        """The model's outputs."""
        return [layer for layer in self.layers if layer.tensor.name in self.outputs]

    def _blamed(self) -> Iterator[str]:
        if not self.worst:
            yield "Every tensor that can be compared is exact."
            return
        first = self.worst[0]
        node = f"{first.tensor.operator} {first.tensor.node}"
        if self.of_nodes:
            yield f"The worst node is {node}: its noise alone brings the outputs to {decibels(first.effect)} dB."
        else:
            yield f"The largest drop is at {node}: {decibels(first.drop)} dB, to {decibels(first.snr)} dB."

    def _uncompared(self) -> Iterator[str]:
        missing = [layer for layer in self.layers if layer.other is None]
        other = [layer for layer in self.layers if layer.other is not None and not layer.compared]
        if other:
            first = other[0]
            yield (
                f"{number_of(len(other), 'tensor')} of another shape cannot be compared, from {first.tensor.operator} "
                f"{first.tensor.node} on ({shape_text(first.shape)}, here {shape_text(first.other)})."
            )
        if missing:
            count = number_of(len(missing), "tensor")
            yield f"{count} cannot be found in the noised model, from {missing[0].tensor.name} on."


def terminal(answer: Answer) -> str:
    """A variant's verdict, and the table of its worst nodes."""
    rows: list[Sequence[str]] = [("node", "operator", "shape", "effect", "alone", "weights", "before → after")]
    for layer in answer.worst:
        figures = map(decibels, (layer.effect, layer.alone, layer.weights))
        along = f"{before(layer)} → {decibels(layer.snr)}"
        rows.append((layer.tensor.node, layer.tensor.operator, shape_text(layer.shape), *figures, along))
    shown = ["", table(rows, right=frozenset({3, 4, 5, 6}))] if answer.worst else []
    return "\n".join([f"{answer.variant}: {answer.verdict}", *shown])


def as_csv(answers: Sequence[Answer]) -> str:
    """A row for each variant and tensor; an empty figure is undefined, `inf` is exact."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for answer in answers:
        for order, layer in enumerate(answer.layers):
            tensor = layer.tensor
            ratios = (layer.snr, layer.drop, layer.effect, layer.alone, layer.weights)
            figures = ("" if one is None else f"{one:.3f}" for one in ratios)
            names = (answer.variant, order, tensor.node, tensor.operator, tensor.name, shape_text(layer.shape))
            writer.writerow((*names, *figures, note(layer)))
    return buffer.getvalue()


def note(layer: Layer) -> str:
    """Why a tensor has no ratio; empty if it has one."""
    if layer.other is None:
        return "not in the noised model"
    if not layer.compared:
        return f"another shape: {shape_text(layer.other)}"
    return "" if layer.snr is not None else "all zeros, or of a shape that depends on the values"


def decibels(value: float | None) -> str:
    """A ratio, or a difference of ratios, as text without its unit."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return number(value, 1)


def before(layer: Layer) -> str:
    """The lowest ratio of a node's inputs, as text."""
    if layer.snr is None or layer.drop is None:
        return "–"
    return decibels(math.inf if math.isinf(layer.drop) else layer.snr + layer.drop)


def ratio_text(layer: Layer) -> str:
    """A tensor's ratio with its unit, or why it has none."""
    if not layer.compared:
        return "another shape"
    return "exact" if layer.snr == math.inf else f"{decibels(layer.snr)} dB"


def shape_text(shape: Shape | None) -> str:
    """A shape as text: `1×64×52×52`."""
    return "×".join(map(str, shape or ())) or "one number"
