"""How likely continuations are: tokens through a causal model, some rows at a time, as lm-evaluation-harness does.

Owns what a row is (all tokens but the last; of one that is too long, the end) and which rows are run together: rows of
about one length, with logits of no more than so many bytes. Refuses likelihoods that are no numbers.
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

# Tokens that are run together where nobody says how many texts are: more are no faster on a CPU (SmolLM2-135M on
# HellaSwag is half as fast with 512), and one text has more most often.
_TOKENS = 64
# Bytes of logits, as float32, that a run of more than one text has at most; as many runs as there are workers go on.
_LOGITS = 2**28
_FLOAT = 4


class Row(NamedTuple):
    """What is run for a request, and the tokens after each of its last ones that are asked for."""

    tokens: Sequence[int]
    continuation: Sequence[int]


def rows_of(encoded: Sequence[Encoded], longest: int) -> list[Row]:
    """The rows for these requests, of no more than `longest` tokens: what is too long loses its beginning.

    As lm-evaluation-harness 0.4.13 has it (`HFLM._loglikelihood_tokens`). No continuation may be longer.
    """
    return [Row([*one.context, *one.continuation][-(longest + 1) : -1], one.continuation) for one in encoded]


def taken(model: CausalModel, row: Sequence[int]) -> int:
    """How many of these tokens a model takes: the most that it does not fail on.

    Raises FeedError where it fails on any number.
    """
    if _takes(model, row):
        return len(row)
    low, high = 1, len(row)  # it takes `low` and fails on `high`
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
    """How likely each row's continuation is; no more than `batch` rows are run together, and `workers` such at a time.

    `advance` is told how many more rows are done. Raises UsageError where the model fails, and where a likelihood is no
    number.
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
    """The places of the rows that are run together, the longest first: what takes too much memory is known at once."""
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
    """Of a row's continuation, by the logits (length, vocabulary) of it and what fills it up."""
    end = len(row.tokens)
    asked = logits[end - len(row.continuation) : end].astype(np.float64)
    highest = asked.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # of what is infinite; it is refused below
        sums = np.log(np.exp(asked - highest).sum(axis=1)) + highest[:, 0]
    log = float((asked[np.arange(len(asked)), row.continuation] - sums).sum())
    if not np.isfinite(log):
        raise UsageError(
            f"{model.name} puts out logits that are no numbers (NaN or infinite): what it answers means nothing"
        )
    return Likelihood(log, bool((asked.argmax(axis=1) == row.continuation).all()))
