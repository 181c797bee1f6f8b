"""What a causal model is fed: its inputs, told by their names and shapes, and rows of tokens as arrays for them.

Rows are filled up on the right, where a causal model does not look: what is masked there is masked for order's sake.
A cache is fed empty. Refuses, by name, inputs that rows of tokens do not give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UsageError

Array = NDArray[Any]
Shape = Sequence[int | str | None]

# bfloat16 has no type of NumPy's: two bytes that only ONNX Runtime can read.
BFLOAT16 = "tensor(bfloat16)"
_INTEGERS: Mapping[str, Any] = MappingProxyType({"tensor(int64)": np.int64, "tensor(int32)": np.int32})
_FLOATS: Mapping[str, Any] = MappingProxyType(
    {"tensor(float)": np.float32, "tensor(float16)": np.float16, BFLOAT16: np.uint16}
)
_MASKS: Mapping[str, Any] = MappingProxyType({**_INTEGERS, **_FLOATS, "tensor(bool)": np.bool_})
# What exports are told besides: not to look for a cache, and to put out the logits of all places (0 is all).
_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {"use_cache_branch": np.zeros(1, np.bool_), "num_logits_to_keep": np.zeros((), np.int64)}
)
_IDS, _MASK, _POSITIONS = "input_ids", "attention_mask", "position_ids"
_CACHES = ("past_key_values.", "past_key_values_", "past.", "past_key_", "past_value_", "past_")


class Value(Protocol):
    """An input or output, as ONNX Runtime lists it; a length that is no number is open."""

    name: str
    type: str
    shape: Shape


@dataclass(frozen=True)
class _Cache:
    """An input for what earlier texts left; a length of None is the batch's, one of 0 that of these texts."""

    name: str
    type: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Feeds:
    """How a model's inputs are fed. `batch` and `length` are the rows, and the tokens of each, that it always takes;
    None where these are open. `bfloat16` has the names of the inputs whose arrays are such, as uint16.
    """

    model: str
    ids: tuple[str, Any]
    mask: tuple[str, Any] | None
    positions: tuple[str, Any] | None
    caches: tuple[_Cache, ...]
    settings: Mapping[str, Array]
    batch: int | None
    length: int | None

    @property
    def bfloat16(self) -> frozenset[str]:
        return frozenset(cache.name for cache in self.caches if cache.type == BFLOAT16)

    def of(self, rows: Sequence[Sequence[int]]) -> dict[str, Array]:
        """The arrays for rows of tokens, none of them empty: the tokens, of shape (batch, length), and all others."""
        batch = self.batch or len(rows)
        length = self.length or max(map(len, rows))
        tokens, mask = np.zeros((batch, length), np.int64), np.zeros((batch, length), np.int64)
        for place in range(batch):
            row = rows[min(place, len(rows) - 1)]  # a fixed batch is filled up with its last one
            tokens[place, : len(row)], mask[place, : len(row)] = row, 1
        fed = {self.ids[0]: tokens.astype(self.ids[1]), **self.settings}
        if self.mask:
            fed[self.mask[0]] = mask.astype(self.mask[1])
        if self.positions:
            fed[self.positions[0]] = np.tile(np.arange(length, dtype=self.positions[1]), (batch, 1))
        for cache in self.caches:
            shape = [batch if each is None else each for each in cache.shape]
            fed[cache.name] = np.zeros(shape, _FLOATS[cache.type])
        return fed


def feeds_of(model: str, inputs: Sequence[Value]) -> Feeds:
    """How a model with these inputs is fed. Raises UsageError, which names the first that cannot be."""
    by_name = {one.name: one for one in inputs}
    ids = by_name.pop(_IDS, None) or _only(model, by_name)
    if len(ids.shape) != 2 or ids.type not in _INTEGERS or ids.shape[1] == 1:
        raise _strange(model, ids, "the tokens of whole texts, of shape (batch, length)")
    batch, length = (each if isinstance(each, int) and each > 0 else None for each in ids.shape)
    feeds = Feeds(model, (ids.name, _INTEGERS[ids.type]), None, None, (), {}, batch, length)
    for one in by_name.values():
        feeds = _with(feeds, one, ids.shape[0])
    return feeds


def _only(model: str, by_name: dict[str, Value]) -> Value:
    """The one input of a model that calls it otherwise."""
    if len(by_name) == 1:
        return by_name.popitem()[1]
    raise UsageError(
        f"{model} has no input input_ids: it takes {', '.join(by_name) or 'nothing'}; is it a causal model?"
    )


def _with(feeds: Feeds, one: Value, batch: int | str | None) -> Feeds:
    """The same, and one input more; `batch` is what the model calls the length of its batch."""
    if one.name == _MASK and len(one.shape) == 2 and one.type in _MASKS and one.type != BFLOAT16:
        return replace(feeds, mask=(one.name, _MASKS[one.type]))
    if one.name == _POSITIONS and len(one.shape) == 2 and one.type in _INTEGERS:
        return replace(feeds, positions=(one.name, _INTEGERS[one.type]))
    if one.name in _SETTINGS:
        return replace(feeds, settings={**feeds.settings, one.name: _SETTINGS[one.name]})
    if one.name.startswith(_CACHES) and one.type in _FLOATS:
        return replace(feeds, caches=(*feeds.caches, _cache(feeds, one, batch)))
    raise _strange(feeds.model, one, "tokens, their mask and positions, or an empty cache")


def _cache(feeds: Feeds, one: Value, batch: int | str | None) -> _Cache:
    """A cache's input: its first length is the batch's, one more is open, and that is of what came before."""
    first, *others = one.shape
    is_open = [not isinstance(each, int) or each < 0 for each in others]
    if (first != batch and isinstance(first, str) and isinstance(batch, str)) or is_open.count(True) != 1:
        raise _strange(feeds.model, one, "a cache of (batch, …) with one more open length, which can be left empty")
    lengths = (0 if free or not isinstance(each, int) else each for free, each in zip(is_open, others, strict=True))
    return _Cache(one.name, one.type, (None, *lengths))


def _strange(model: str, one: Value, wanted: str) -> UsageError:
    shape = "x".join(map(str, one.shape)) or "one value"
    return UsageError(f"{model} takes {one.name} ({one.type} {shape}), which is not {wanted}: export it without")
