"""The effect of a single node's noise on a model's outputs: the reference's model with one node of the noised model.

This shows how much a node contributes, whether the nodes after it amplify its noise or cancel it; PPQ's layerwise
analysis measures the same (ppq/quantization/analyse/layerwise.py). Each effect needs a run of everything after the
node, so only the noisiest nodes are tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from generators.models.taps import Tapped
from pipelines.ahead import in_order
from pipelines.evaluate.layers.ratio import Ratio, ratio
from pipelines.evaluate.layers.session import Array, TapSession
from pipelines.progress import Advance, counted

# How many nodes are tried.
_TRIED = 48
# How many models are loaded together, and the bytes of their files; a single model may have more.
_LOADED, _BYTES = 16, 2**30


class Effects:
    """Effects of a noised model's nodes in the reference's model; `variant` is its name in errors, and `folder` is for
    the models that are run.
    """

    def __init__(self, own: Tapped, noised: Tapped, variant: str, folder: Path) -> None:
        self._own, self._noised, self._variant, self._folder = own, noised, variant, folder
        known = {tensor.name for tensor in own.tensors}
        self._outputs = [name for name in own.outputs if name in known]

    def measure(
        self, alone: Mapping[str, Ratio], read: Callable[[], Iterator[Array]], batches: int, threads: int
    ) -> dict[str, float]:
        """The lowest ratio of an output, in decibels, by the tensor whose node is the only noisy one.

        `alone` has the ratios by which the noisiest nodes are chosen. Raises UsageError if a model cannot run.
        """
        noisy = {name: found for name, one in alone.items() if (found := one.decibels) is not None and found < math.inf}
        tried = sorted(noisy, key=lambda name: noisy[name])[:_TRIED] if self._outputs else []
        loads = [tried[start : start + self._loaded] for start in range(0, len(tried), self._loaded)]
        effects: dict[str, float] = {}
        total = len(loads) * batches
        with counted(total, "batch", f"batches measured for the effects of {self._variant}'s nodes") as advance:
            for load in loads:
                effects |= self._load(load, read(), threads, advance)
        return effects

    @property
    def _loaded(self) -> int:
        return max(1, min(_LOADED, _BYTES // self._own.bytes))

    def _load(self, load: Sequence[str], batches: Iterator[Array], threads: int, advance: Advance) -> dict[str, float]:
        """The effects of nodes whose models are loaded together."""
        path = self._folder / "effect.onnx"
        given = self._noised.write_apart(load, path)
        apart = TapSession(path, self._variant)
        needed = list(dict.fromkeys([*given, *self._outputs]))
        self._own.write_values((self._own.taps[name].taken for name in needed), path)
        own = TapSession(path, "the model")
        behind: dict[str, tuple[str, TapSession]] = {}
        for name in load:
            value = self._own.write_behind(name, self._outputs, path)
            behind[name] = value, TapSession(path, self._variant)

        def ratios(batch: Array) -> list[list[Ratio]]:
            tensors = dict(zip(needed, own.run(batch), strict=True))
            noised = apart.run(batch, {value: tensors[name] for name, value in given.items()})
            return [
                [
                    ratio(tensors[output], found)
                    for output, found in zip(self._outputs, session.run(batch, {value: one}), strict=True)
                ]
                for one, (value, session) in zip(noised, behind.values(), strict=True)
            ]

        def stop() -> None:
            for session in (own, apart, *(session for _, session in behind.values())):
                session.stop()

        sums = [[Ratio() for _ in self._outputs] for _ in load]
        with closing(in_order(ratios, batches, threads, stop)) as results:
            for found in results:
                sums = [
                    [one.plus(more) for one, more in zip(*pair, strict=True)] for pair in zip(sums, found, strict=True)
                ]
                advance(self._variant, 1)
        worst = ((one.decibels for one in of_node) for of_node in sums)
        lowest = (min((one for one in known if one is not None), default=None) for known in worst)
        return {name: one for name, one in zip(load, lowest, strict=True) if one is not None}
