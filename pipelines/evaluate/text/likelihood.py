"""How likely continuations are: runs tokens through a causal model in batches, as lm-evaluation-harness does.

Owns what a row is (all tokens but the last, truncated at the start if there are too many) and which rows run together:
rows of similar length, up to a limit on the size of their logits. Refuses likelihoods that are NaN or infinite.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.ahead import in_order
from pipelines.errors import UsageError
from pipelines.evaluate.text.answers import Likelihood
from pipelines.evaluate.text.causal import CausalModel, FeedError
from pipelines.evaluate.text.tokens import Encoded

# Tokens per run by default: more are no faster on a CPU (SmolLM2-135M on HellaSwag is half as fast with 512), and most
# texts have more by themselves.
_TOKENS = 64
# The most bytes of float32 logits in a run of several texts; each worker has a run.
_LOGITS = 2**28
_FLOAT = 4


class Row(NamedTuple):
    """The tokens to run for a request, and the continuation, whose tokens follow each of the last of these."""

    tokens: Sequence[int]
    continuation: Sequence[int]


def rows_of(encoded: Sequence[Encoded], longest: int) -> list[Row]:
    """The rows for these requests, truncated at the start to at most `longest` tokens.

    As in lm-evaluation-harness 0.4.13 (`HFLM._loglikelihood_tokens`). No continuation may be longer.
    """
    return [Row([*one.context, *one.continuation][-(longest + 1) : -1], one.continuation) for one in encoded]


def taken(model: CausalModel, row: Sequence[int]) -> int:
    """The longest prefix of these tokens, by its length, on which a model does not fail.

    Raises FeedError if it fails on a single token.
    """
    if _takes(model, row):
        return len(row)
    low, high = 1, len(row)  # the model takes `low` and fails on `high`
    model.run([row[:low]])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _takes(model, row[:middle]) else (low, middle)
    return low


def _takes(model: CausalModel, row: Sequence[int]) -> bool:
    try:
        model.run([row])
    except FeedError:
        return False
    return True


def likelihoods(
    model: CausalModel, rows: Sequence[Row], batch: int | None, workers: int, advance: Callable[[int], None]
) -> list[Likelihood]:
    """How likely each row's continuation is; a run has at most `batch` rows, and `workers` runs go on at a time.

    `advance` is called with the number of rows just done. Raises UsageError if the model fails, or a likelihood is NaN
    or infinite.
    """
    found: list[Likelihood | None] = [None] * len(rows)
    together = _together(model, [len(row.tokens) for row in rows], batch)

    def run(places: Sequence[int]) -> list[tuple[int, Likelihood]]:
        logits = model.run([rows[place].tokens for place in places])
        return [(place, _likelihood(model, rows[place], own)) for place, own in zip(places, logits, strict=True)]

    with contextlib.closing(in_order(run, together, workers, model.stop)) as done:
        for part in done:
            for place, likelihood in part:
                found[place] = likelihood
            advance(len(part))
    return [one for one in found if one is not None]


def _together(model: CausalModel, lengths: Sequence[int], batch: int | None) -> Iterator[list[int]]:
    """The indices of the rows to run together, the longest first, so that running out of memory shows at once."""
    most = 1 if model.alone else batch or len(lengths)
    places: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        longest = model.feeds.length or lengths[places[0] if places else place]
        room = (_TOKENS if batch is None else _LOGITS // (model.vocabulary * _FLOAT)) // longest
        if places and len(places) >= min(most, model.feeds.batch or room):
            yield places
            places = []
        places.append(place)
    if places:
        yield places


def _likelihood(model: CausalModel, row: Row, logits: NDArray[Any]) -> Likelihood:
    """How likely a row's continuation is, from its logits (length, vocabulary), with or without padding."""
    end = len(row.tokens)
    asked = logits[end - len(row.continuation) : end].astype(np.float64)
    highest = asked.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # infinite logits are refused below
        sums = np.log(np.exp(asked - highest).sum(axis=1)) + highest[:, 0]
    log = float((asked[np.arange(len(asked)), row.continuation] - sums).sum())
    if not np.isfinite(log):
        raise UsageError(f"{model.name} returns logits that are NaN or infinite: its answers mean nothing")
    return Likelihood(log, bool((asked.argmax(axis=1) == row.continuation).all()))
