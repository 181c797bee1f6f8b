"""Adapts the nodes after a tensor whose height or width has changed, or refuses the model, naming the node.

A Reshape whose constants are the old lengths gets the new ones, if it is clear which is which. A Resize whose result
meets a tensor of another size (in an FPN, a U-Net) takes its height and width from that tensor, at any input size.
Nothing else is changed: the weights of a fully connected layer, and added constants, crops and splits that assume the
old size are refused.

Whether a model fits is tried with its own input size or, if that is open, with several for which the model was
consistent before. One of them has to fit, since a network that halves its input need not accept an odd one. The outputs
of control flow and custom operators have no known size, and are not checked.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from generators.models.graph import (
    Change,
    ModelError,
    attribute,
    constant,
    insert,
    name_of,
    new_constant,
    new_name,
    replace_input,
)
from generators.models.misfit import Misfit, contradiction, is_constant, refusal
from generators.models.opset import raise_opset
from generators.models.reshape import follow, kept_axes, resolve
from generators.models.shapes import Inference, Known, open_lengths

# Input lengths to try: multiples of 32, and an odd one.
_TRIED = (256, 320, 416, 480, 333)
_RESIZING = ("Resize", "Upsample")
# The opset in which Resize got its input `sizes`.
_SIZES_OPSET = 11
# Stands for the end of a shape in a Slice.
_LAST = 2**31 - 1


class Sizes:
    """The shapes of a model's tensors before it is changed, for each input size at which it is consistent."""

    def __init__(self, model: ir.Model) -> None:
        self.known: dict[int | None, dict[str, Known]] = {}
        for size in _TRIED if open_lengths(model) else (None,):
            found = Inference(model, size)
            if not any(contradiction(node, found) or found.step(node) for node in model.graph):
                shapes = {value.name or "": found.known(value) for node in model.graph for value in _touched(node)}
                self.known[size] = {name: shape for name, shape in shapes.items() if shape is not None}


def fit(model: ir.Model, before: Sizes) -> list[Change]:
    """Adapt the nodes after changed sizes, and return the changes.

    Raises ModelError if the model fits at none of the input sizes tried.
    """
    changes: list[Change] = []
    refusals: list[ModelError] = []
    met: set[str] = set()
    for size, shapes in before.known.items():
        try:
            while _Walk(model, size, shapes, met).changed(changes):
                pass
        except ModelError as error:
            refusals.append(error)
    if refusals and len(refusals) == len(before.known):
        raise refusals[0]
    model.graph.sort()
    return changes


class _Walk:
    """One pass over a changed model, from its inputs to its outputs."""

    def __init__(self, model: ir.Model, size: int | None, before: dict[str, Known], met: set[str]) -> None:
        self._model, self._before, self._met = model, before, met
        self._found = Inference(model, size)
        # The Resize that sets the height and width of a tensor.
        self._sources: dict[ir.Value, ir.Node] = {}
        # The new lengths behind a product of lengths: 1681 that was (40, 40) is now (41, 41).
        self._merged: dict[tuple[Known, int], Known] = {}

    def changed(self, changes: list[Change]) -> bool:
        """Correct what does not fit; returns whether a node further up was changed, so that another pass is needed."""
        for node in list(self._model.graph):
            if node.op_type == "Reshape" and not node.domain and (change := self._fit_reshape(node)):
                changes.append(change)
            misfit = contradiction(node, self._found) or self._cut(node)
            if misfit is not None:
                change = self._meet(node) if misfit.meeting else None
                if change is None:
                    raise ModelError(refusal(node, misfit))
                changes.append(change)
                return True
            if problem := self._found.step(node):
                raise ModelError(refusal(node, Misfit(f"does not fit the new size ({problem})")))
            if any(self._vanished(output) for output in node.outputs):
                raise ModelError(refusal(node, Misfit("nothing is left of its input", advice="use larger images")))
            self._trace(node)
        return False

    def _vanished(self, value: ir.Value) -> bool:
        """Whether a tensor that had pixels has none left."""
        shape, before = self._found.known(value) or (), self._before.get(value.name or "", ())
        return len(shape) > 2 and len(before) > 2 and min(before) > 0 >= min(shape)

    def _trace(self, node: ir.Node) -> None:
        """Record which Resize sets the height and width of a node's output."""
        if not node.outputs:
            return
        output = node.outputs[0]
        shape = self._found.known(output)
        if shape is None or len(shape) < 3:
            return
        if node.op_type in _RESIZING and not node.domain:
            self._sources[output] = node
            return
        like = [value for value in node.inputs if _alike(self._found.known(value), shape)]
        sources = {self._sources.get(value) for value in like if value is not None and not is_constant(value)}
        if len(sources) == 1 and (source := sources.pop()) is not None:
            for each in node.outputs:
                self._sources[each] = source

    def _meet(self, node: ir.Node) -> Change | None:
        """Resize one input of a node to the height and width of another, if the model meant them to be equal."""
        inputs = [value for value in node.inputs if value is not None]
        rank = max(len(self._found.known(value) or ()) for value in inputs)
        shapes = {value: shape for value in inputs if len(shape := self._found.known(value) or ()) == rank}
        large = {
            value: shape[2:] for value, shape in shapes.items() if not is_constant(value) and set(shape[2:]) != {1}
        }
        laterals = {value: spatial for value, spatial in large.items() if value not in self._sources}
        if not laterals or len(set(laterals.values())) != 1:
            return None
        lateral, wanted = next(iter(laterals.items()))
        for value, spatial in large.items():
            resize = self._sources.get(value)
            if resize is None or spatial == wanted or resize in _ancestors(lateral):
                continue
            name = resize.outputs[0].name or ""
            if name in self._met:
                return None
            self._met.add(name)
            return self._take_size(resize, lateral)
        return None

    def _take_size(self, resize: ir.Node, lateral: ir.Value) -> Change:
        model, output, like = self._model, resize.outputs[0].name, lateral.name
        if model.opset_imports[""] < _SIZES_OPSET:
            raise_opset(model, _SIZES_OPSET)
            resize = next(node for node in model.graph if any(value.name == output for value in node.outputs))
            lateral = next(value for node in model.graph for value in _touched(node) if value.name == like)
        base = name_of(resize)
        assert resize.inputs[0] is not None
        parts = [self._lengths(resize.inputs[0], 0, 2, base, resize), self._lengths(lateral, 2, _LAST, base, resize)]
        sizes = self._put("Concat", parts, f"{base}_sizes", resize, axis=0)
        for name in ("axes", "keep_aspect_ratio_policy"):
            resize.attributes.pop(name, None)
        empty = None
        if model.opset_imports[""] < 13:  # before which roi and scales are required
            empty = new_constant(model, np.zeros(0, np.float32), f"{base}_empty", resize)
        if len(resize.inputs) < 2 or resize.inputs[1] is None:
            replace_input(resize, 1, empty)
        replace_input(resize, 2, empty)
        replace_input(resize, 3, sizes)
        model.graph.sort()
        return Change(base, "Resize", f"takes its height and width from {like!r}")

    def _lengths(self, value: ir.Value, first: int, last: int, base: str, before: ir.Node) -> ir.Value:
        """A part of a tensor's shape, computed when the model runs."""
        shape = self._put("Shape", [value], f"{base}_whole", before)
        ends = [new_constant(self._model, np.array([end], np.int64), f"{base}_end", before) for end in (first, last)]
        return self._put("Slice", [shape, *ends], f"{base}_part", before)

    def _put(
        self, operator: str, inputs: Sequence[ir.Value | None], base: str, before: ir.Node, **given: int
    ) -> ir.Value:
        name = new_name(self._model, base)
        return insert(ir.node(operator, inputs, given, name=name), name, before)

    def _cut(self, node: ir.Node) -> Misfit | None:
        """A misfit for a Slice that ended at the end of its input, and would now cut something off."""
        if node.op_type != "Slice" or node.domain:
            return None
        shape = self._found.known(node.inputs[0])
        before = self._before.get((node.inputs[0] and node.inputs[0].name) or "")
        if shape is None or before is None or shape == before or len(shape) != len(before):
            return None
        inputs = [*node.inputs, None, None, None]
        ends = constant(inputs[2]) if inputs[1] is not None else attribute(node, "ends", None)
        axes = constant(inputs[3]) if inputs[1] is not None else attribute(node, "axes", None)
        if ends is None:
            return None
        for axis, end in zip(range(len(ends)) if axes is None else axes, ends, strict=True):
            if end == before[axis] < shape[axis]:
                return Misfit(f"cuts off at {end} what is {shape[axis]} long now")
        return None

    def _fit_reshape(self, node: ir.Node) -> Change | None:
        """Replace the old lengths among a Reshape's constants by the new ones."""
        source, target = node.inputs[0], node.inputs[1]
        new, numbers = self._found.known(source), self._found.array(target)
        old = self._before.get((source and source.name) or "")
        made = self._before.get(node.outputs[0].name or "")
        if new is None or old is None or made is None or numbers is None or new == old or target is None:
            return None
        wanted = follow(old, made, new, self._merged)
        zero = bool(attribute(node, "allowzero", 0))
        if wanted is None or resolve(numbers, new, zero) == wanted:
            return None
        fitted = [int(now) if now <= 0 else length for now, length in zip(numbers, wanted, strict=True)]
        if resolve(np.array(fitted), new, zero) != wanted:
            return None
        if constant(target) is not None:
            fixed = new_constant(self._model, np.array(fitted, np.int64), f"{name_of(node)}_shape", node)
            self._replace(node, fixed)
            return Change(name_of(node), "Reshape", f"shape {numbers.tolist()} to {fitted}")
        parts = self._parts(node, target, numbers.tolist(), fitted, kept_axes(old, made))
        if parts is None:
            return None
        self._replace(node, self._put("Concat", parts, f"{name_of(node)}_shape", node, axis=0))
        return Change(name_of(node), "Reshape", "takes lengths that were worked out from those of its input")

    def _parts(
        self, node: ir.Node, target: ir.Value, old: list[int], new: list[int], kept: dict[int, int]
    ) -> list[ir.Value | None] | None:
        """The inputs of the Concat that makes a shape, with those replaced that do not fit; None if there is none."""
        concat, source = target.producer(), node.inputs[0]
        if concat is None or concat.op_type != "Concat" or concat.domain or source is None:
            return None
        parts, start = list(concat.inputs), 0
        for index, part in enumerate(parts):
            length = (self._found.known(part) or (0,))[0]
            piece, start = slice(start, start + length), start + length
            if old[piece] == new[piece]:
                continue
            if length == 1 and piece.start in kept:
                axis = kept[piece.start]
                parts[index] = self._lengths(source, axis, axis + 1, name_of(node), node)
            elif constant(part) is not None:
                fixed = np.array(new[piece], np.int64)
                parts[index] = new_constant(self._model, fixed, f"{name_of(node)}_shape", node)
            else:
                return None
        return parts

    def _replace(self, reshape: ir.Node, target: ir.Value) -> None:
        """Give a Reshape another shape, and infer the nodes that compute it."""
        replace_input(reshape, 1, target)
        made = _ancestors(target)
        for node in self._model.graph:
            if node in made and any(self._found.array(output) is None for output in node.outputs):
                self._found.step(node)


def _touched(node: ir.Node) -> list[ir.Value]:
    return [*(value for value in node.inputs if value is not None), *node.outputs]


def _alike(shape: Known | None, other: Known) -> bool:
    return shape is not None and len(shape) == len(other) and shape[2:] == other[2:]


def _ancestors(value: ir.Value) -> set[ir.Node]:
    """The nodes that a value depends on."""
    found: set[ir.Node] = set()
    waiting = [value.producer()]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [each.producer() for each in node.inputs if each is not None]
    return found
