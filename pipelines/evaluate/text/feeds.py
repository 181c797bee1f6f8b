"""The inputs of a causal model, recognised by name and shape, and the arrays that feed them from rows of tokens.

Rows are padded on the right, where a causal model does not look, so that masking the padding is only a formality. A
cache is fed empty. Refuses, by name, inputs that cannot be made from tokens.
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

# NumPy has no bfloat16: its arrays are uint16, two bytes that only ONNX Runtime can read.
BFLOAT16 = "tensor(bfloat16)"
_INTEGERS: Mapping[str, Any] = MappingProxyType({"tensor(int64)": np.int64, "tensor(int32)": np.int32})
_FLOATS: Mapping[str, Any] = MappingProxyType(
    {"tensor(float)": np.float32, "tensor(float16)": np.float16, BFLOAT16: np.uint16}
)
_MASKS: Mapping[str, Any] = MappingProxyType({**_INTEGERS, **_FLOATS, "tensor(bool)": np.bool_})
# Switches of some exports: do not use the cache; return the logits of all positions (0 means all).
_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {"use_cache_branch": np.zeros(1, np.bool_), "num_logits_to_keep": np.zeros((), np.int64)}
)
_IDS, _MASK, _POSITIONS = "input_ids", "attention_mask", "position_ids"
_CACHES = ("past_key_values.", "past_key_values_", "past.", "past_key_", "past_value_", "past_")


class Value(Protocol):
    """An input or output, as ONNX Runtime lists it; a dimension that is not a number is dynamic."""

    name: str
    type: str
    shape: Shape


@dataclass(frozen=True)
class _Cache:
    """A cache of earlier tokens; in `shape`, None stands for the batch, and 0 for the number of earlier tokens."""

    name: str
    type: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Feeds:
    """How a model's inputs are fed. `batch` and `length` are the numbers of rows and of tokens per row if they are
    fixed, None if they are dynamic. `bfloat16` names the inputs of that type, whose arrays are uint16.
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
        """The arrays for all inputs, by name; the tokens have shape (batch, length). No row may be empty."""
        batch = self.batch or len(rows)
        length = self.length or max(map(len, rows))
        tokens, mask = np.zeros((batch, length), np.int64), np.zeros((batch, length), np.int64)
        for place in range(batch):
            row = rows[min(place, len(rows) - 1)]  # the last row repeats to fill a fixed batch
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
    """How to feed a model with these inputs. Raises UsageError, naming the first that cannot be fed."""
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
    """The only input of a model, whatever its name."""
    if len(by_name) == 1:
        return by_name.popitem()[1]
    raise UsageError(
        f"{model} has no input input_ids: it takes {', '.join(by_name) or 'nothing'}; is it a causal model?"
    )


def _with(feeds: Feeds, one: Value, batch: int | str | None) -> Feeds:
    """These feeds with one more input; `batch` is the model's name for its batch dimension."""
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
    """A cache input: its first dimension is the batch, and one more is dynamic, the number of earlier tokens."""
    first, *others = one.shape
    is_open = [not isinstance(each, int) or each < 0 for each in others]
    if (first != batch and isinstance(first, str) and isinstance(batch, str)) or is_open.count(True) != 1:
        raise _strange(feeds.model, one, "a cache of (batch, …) with one more dynamic dimension, to be left empty")
    lengths = (0 if free or not isinstance(each, int) else each for free, each in zip(is_open, others, strict=True))
    return _Cache(one.name, one.type, (None, *lengths))


def _strange(model: str, one: Value, wanted: str) -> UsageError:
    shape = "x".join(map(str, one.shape)) or "one value"
    return UsageError(f"{model} takes {one.name} ({one.type} {shape}), which is not {wanted}: export it without")
