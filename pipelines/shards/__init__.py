"""Finished sets of shards: which variants a set has, which samples they share, and how to read their images or
spectrograms.

Reads manifests and tars, and writes nothing. Refuses folders whose variants do not belong together or lack the
reference, and a tar that does not match its manifest. Checking every byte is left to verify.py. Shards may come from
anybody, so everything read from them is bounded, and no name in them leads out of the set.
"""

from pipelines.shards.command import VERSIONS
from pipelines.shards.find import check_images, dataset_in, open_shards
from pipelines.shards.shards import UNKNOWN_LABEL, Samples, Shards
from pipelines.shards.tar import Stored
from pipelines.shards.variant import FinishedVariant

__all__ = [
    "UNKNOWN_LABEL",
    "VERSIONS",
    "FinishedVariant",
    "Samples",
    "Shards",
    "Stored",
    "check_images",
    "dataset_in",
    "open_shards",
]
