"""Orders variants so that similar ones stand together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def by_similarity(distances: NDArray[np.float64]) -> list[int]:
    """The places of a symmetric matrix's rows, ordered by average linkage with optimal leaf ordering (Bar-Joseph et al.
    2001), on the logarithm of the distances: they differ by powers of ten. The first row stays in the first half.
    """
    count = len(distances)
    if count < 3:
        return list(range(count))
    from scipy.cluster.hierarchy import leaves_list, linkage  # a third of a second, which small sets do without
    from scipy.spatial.distance import squareform

    known = distances[np.isfinite(distances) & (distances > 0)]
    if not known.size:
        return list(range(count))
    # Variants that cannot be compared count as the farthest apart.
    filled = np.nan_to_num(distances, nan=float(known.max()))
    logs = np.log(np.maximum(filled, known.min())) - np.log(known.min()) + 1
    np.fill_diagonal(logs, 0)
    order = [int(place) for place in leaves_list(linkage(squareform(logs), "average", optimal_ordering=True))]
    return order if order.index(0) < count / 2 else order[::-1]
