"""The paper's equations for 8 bits, in NumPy."""

from __future__ import annotations

import numpy as np

from tests.generators.models.networks import Array


def quantised(values: Array, by: Array) -> Array:
    """The paper's equation 9, with z = 0."""
    found: Array = np.clip(np.rint(values.astype(np.float32) / by), -128, 127)
    return found


def fake(values: Array, by: Array) -> Array:
    """Equations 9 and 10."""
    found: Array = quantised(values, by).astype(np.float64) * by
    return found
