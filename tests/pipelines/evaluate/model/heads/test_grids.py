"""YOLOX and NanoDet: boxes encoded in their outputs are decoded, also on the larger grids of ceil mode."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.heads import HEADS
from pipelines.evaluate.model.heads.common import Fit, Given
from tests.pipelines.evaluate.model.heads.grids import (
    KNOWN,
    SIDE,
    nanodet_outputs,
    yolox_output,
)


def fit(head: str, outputs: list[NDArray[np.float32]], side: int = SIDE) -> Fit | None:
    return HEADS[head].fit(named(outputs), Given(side, side))


def named(outputs: list[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    return {f"out{index}": output for index, output in enumerate(outputs)}


def expect(head: str, outputs: list[NDArray[np.float32]], note: str = "") -> None:
    found = fit(head, outputs)
    assert found is not None
    assert note in found.note
    boxes = found.decode(named(outputs), 0.05)
    for box, _, label, score in KNOWN:
        (place,) = np.flatnonzero(boxes.classes == label)
        assert boxes.scores[place] == pytest.approx(score, abs=1e-4)
        np.testing.assert_allclose(boxes.corners[place], box, atol=1e-3)
    assert len(boxes.scores) == len(KNOWN)


@pytest.mark.parametrize("logits", [True, False])
def test_yolox_boxes_are_decoded(logits: bool) -> None:
    expect("yolox", [yolox_output(logits)], "logits" if logits else "probabilities")


@pytest.mark.parametrize("logits", [True, False])
def test_nanodet_boxes_are_decoded_whatever_the_order_of_outputs(logits: bool) -> None:
    outputs = nanodet_outputs(logits)
    expect("nanodet", outputs, "logits" if logits else "probabilities")
    expect("nanodet", [outputs[i] for i in (3, 0, 5, 1, 4, 2)])


@pytest.mark.parametrize("logits", [True, False])
def test_the_larger_grids_of_ceil_mode_are_decoded(logits: bool) -> None:
    expect("yolox", [yolox_output(logits, 1)])
    expect("nanodet", nanodet_outputs(logits, 1))


def test_the_fit_of_the_model_as_it_is_decodes_the_larger_grids_of_noise() -> None:
    for head, outputs in (("yolox", lambda more: [yolox_output(True, more)]), ("nanodet", nanodet_outputs_of_logits)):
        settled = fit(head, outputs(0))
        assert settled is not None
        boxes = settled.decode(named(outputs(1)), 0.05)
        np.testing.assert_allclose(np.sort(boxes.scores), np.sort([score for *_, score in KNOWN]), atol=1e-4)
        with pytest.raises(UsageError, match=f"do not fit the head {head}"):
            settled.decode(named([outputs(0)[0][:-1]]), 0.05)


def nanodet_outputs_of_logits(more: int) -> list[NDArray[np.float32]]:
    return nanodet_outputs(True, more)


def test_outputs_of_other_heads_do_not_fit() -> None:
    assert fit("nanodet", [yolox_output(True)]) is None
    assert fit("yolox", nanodet_outputs(True)) is None
    assert fit("yolox", [yolox_output(True)], 96) is None
    decoded = yolox_output(False)
    decoded[:, 2:4] = np.exp(decoded[:, 2:4]) * 32
    assert fit("yolox", [decoded]) is None
    assert fit("yolov5", [np.concatenate([decoded, decoded])]) is not None


def test_scores_outside_0_to_1_by_rounding_are_still_probabilities() -> None:
    output = yolox_output(False)
    output[0, 6], output[1, 7] = 1.0000002, -1e-7
    output[0, 4] = 1
    found = fit("yolox", [output])
    assert found is not None
    boxes = found.decode(named([output]), -1)
    assert "probabilities" in found.note
    assert (boxes.scores >= 0).all()
    assert boxes.scores.max() == 1
