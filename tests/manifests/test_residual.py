from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from manifests.residual import residual

IMAGES = arrays(np.uint8, (5, 4, 3), elements=st.integers(0, 255))


@given(IMAGES, IMAGES)
def test_residuals_equal_numpys_in_wide_integers(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> None:
    wide = np.abs(image.astype(np.int64) - reference.astype(np.int64))
    found = residual(image, reference)
    assert found is not None
    assert found.mean_abs == pytest.approx(wide.mean(), rel=1e-12)
    assert found.max_abs == wide.max()
    assert found.changed == (wide > 0).mean()


def test_shapes_that_differ_cannot_be_compared() -> None:
    assert residual(np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)) is None
