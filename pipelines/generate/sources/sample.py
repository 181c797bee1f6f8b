"""The built-in set: nine photographs that ship inside the wheels of scikit-image and scikit-learn.

Pillow converts those that are PNG to JPEG, so that sizes and chroma subsampling vary as in a real set. The labels are
the nearest ImageNet classes; they are meant to exercise a pipeline, not to rank models.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pipelines.errors import UsageError
from pipelines.generate.sources.base import Listing, Missing, Sample
from pipelines.generate.sources.labels import label_by_synset


class Photograph(NamedTuple):
    """A file in a wheel, the synset of its label, its licence, and Pillow's JPEG options if it is not JPEG yet."""

    path: str
    synset: str
    licence: str
    jpeg: dict[str, int | bool] | None = None


# Licences as given in skimage.data's docstrings and in sklearn/datasets/images/README.txt.
PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph("skimage/data/astronaut.png", "n04266014", "public domain, NASA", {"quality": 95, "subsampling": 0}),
    Photograph("skimage/data/brick.png", "n04326547", "CC0, CC0Textures", {"quality": 85}),
    Photograph("skimage/data/camera.png", "n04485082", "CC0, Lav Varshney", {"quality": 90}),
    Photograph("skimage/data/chelsea.png", "n02123045", "CC0, Stéfan van der Walt", {"quality": 90, "subsampling": 2}),
    Photograph("sklearn/datasets/images/china.jpg", "n03877845", "CC BY 2.0, danielbuechele"),
    Photograph("skimage/data/clock_motion.png", "n02708093", "public domain, Stéfan van der Walt", {"quality": 80}),
    Photograph(
        "skimage/data/coffee.png",
        "n07920052",
        "CC0, Rachel Michetti",
        {"quality": 75, "subsampling": 1, "progressive": True},
    ),
    Photograph("sklearn/datasets/images/flower.jpg", "n11939491", "CC BY 2.0, vultilion"),
    Photograph("skimage/data/rocket.jpg", "n03773504", "public domain, SpaceX"),
)


def _locate(path: str) -> Path:
    package, _, inside = path.partition("/")
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    file = Path(folders[0]) / inside if folders else None
    if file is None or not file.is_file():
        wheel = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[package]
        raise UsageError(f"the sample photograph {path} is not installed: pip install {wheel}")
    return file


def open_photograph(name: str) -> Image.Image:
    """One of the photographs, by the stem of its file. Raises UsageError if it is not installed."""
    return Image.open(_locate(next(one.path for one in PHOTOGRAPHS if Path(one.path).stem == name)))


def _jpeg(photograph: Photograph) -> bytes:
    path = _locate(photograph.path)
    if photograph.jpeg is None:
        return path.read_bytes()
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.save(buffer, "JPEG", **photograph.jpeg)
    return buffer.getvalue()


@dataclass(frozen=True)
class SampleSource:
    """Nine small photographs with ImageNet labels; needs no download."""

    kind: str = "sample"

    def listing(self) -> Listing:
        samples = [
            Sample(Path(p.path).stem, label_by_synset()[p.synset], p.path, len(_jpeg(p)), (index,))
            for index, p in enumerate(PHOTOGRAPHS)
        ]
        # Pillow writes most of these files: another version may write different bytes of the same length.
        total = hashlib.sha256(b"".join(map(_jpeg, PHOTOGRAPHS)))
        return Listing(samples, [], {"content_sha256": total.hexdigest()})

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        for sample in samples:
            yield _jpeg(PHOTOGRAPHS[sample.place[0]])
