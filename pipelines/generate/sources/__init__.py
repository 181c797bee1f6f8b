"""Where samples come from.

A source lists its samples without reading any, and reads the bytes of a slice of them later, in another process. Owns
the samples' keys, labels and order; refuses sources without labels or unique keys. Decodes nothing.
"""

from pipelines.generate.sources.base import Grouped, Listing, Missing, Sample, Segmented, Source
from pipelines.generate.sources.catalogue import Catalogue
from pipelines.generate.sources.cityscapes import open_cityscapes
from pipelines.generate.sources.coco import open_coco
from pipelines.generate.sources.imagenet import open_imagenet
from pipelines.generate.sources.sample import SampleSource

__all__ = [
    "Catalogue",
    "Grouped",
    "Listing",
    "Missing",
    "Sample",
    "SampleSource",
    "Segmented",
    "Source",
    "open_cityscapes",
    "open_coco",
    "open_imagenet",
]
