"""Exports a PyTorch classifier to ONNX, and measures how far the outputs of the file are from those of the network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generators.geometry import frame
from generators.variant import DEFAULT_REFERENCE
from pipelines.errors import RunError
from pipelines.evaluate.model.cells import as_it_is
from pipelines.evaluate.model.geometry import wanted_geometry
from pipelines.evaluate.model.inputs import fitting
from pipelines.evaluate.model.named.built import Built
from pipelines.evaluate.model.named.program import write
from pipelines.evaluate.model.named.pytorch import required
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.runtimes import open_session
from pipelines.generate.config import base_variant
from pipelines.generate.sources import SampleSource
from pipelines.generate.target import choose_geometry
from pipelines.options import Target

# How far an export's outputs may be from the network's, as a share of the largest.
TOLERANCE = 1e-4


def export(built: Built, path: Path) -> None:
    """Write a network as ONNX, for batches of any size. Raises UsageError if it cannot be exported, and OSError."""
    side = int(built.stated["size"])
    images = required("torch").zeros(2, 3, side, side)
    write(built.name, built.module, {"images": images}, "scores", ("batch",), path)


def compare(built: Built, path: Path, preprocessing: Preprocessing) -> dict[str, Any]:
    """How far an export is from its network on the built-in photographs, in one batch and singly, as JSON values.

    Raises RunError if it is further than `TOLERANCE`.
    """
    torch = required("torch")
    keys, pixels = photographs(preprocessing)
    session = open_session(as_it_is(path), preprocessing.layout, "cpu")
    inputs = fitting(session.input, preprocessing, pixels[0])
    batch = inputs.batch(len(keys))
    for key, image, into in zip(keys, pixels, batch, strict=True):
        inputs.place(key, {}, image, into)
    with torch.inference_mode():
        expected = built.module(torch.from_numpy(batch)).numpy()
    (together,) = session.run(batch).values()
    alone = [next(iter(session.run(image[None]).values())) for image in batch]
    largest = float(np.abs(expected).max())
    differences = np.abs(np.stack([together, np.concatenate(alone)]) - expected)
    difference = float(differences.max())
    if not difference <= TOLERANCE * largest:  # also true of NaN
        raise RunError(
            f"the ONNX export of {built.name} is not the same model: its outputs (up to {largest:.3g}) differ "
            f"by {difference:.3g}; export it yourself"
        )
    images = [
        {"key": key, "pixel_sha256": hashlib.sha256(image.tobytes()).hexdigest()}
        for key, image in zip(keys, pixels, strict=True)
    ]
    return {"largest_difference": difference, "largest_output": largest, "images": images}


def photographs(preprocessing: Preprocessing) -> tuple[list[str], list[NDArray[np.uint8]]]:
    """The keys of the built-in photographs, and their pixels as rendered by the model's own reference."""
    geometry, size = choose_geometry("sample", wanted_geometry(preprocessing, Target(), "sample"))
    reference = base_variant(preprocessing.reference or DEFAULT_REFERENCE, geometry)
    assert reference.resize is not None  # classifiers' geometries all resize
    source = SampleSource()
    samples = list(source.listing().samples)
    keys, pixels = [], []
    for sample, data in zip(samples, source.read(samples), strict=True):
        image = reference.decode.load()(data, *((1,) if reference.decode.shrinks else ()))
        target = frame(geometry, image.shape[1], image.shape[0], size)
        assert target.resize is not None
        keys.append(sample.key)
        pixels.append(target.cut(reference.resize.load()(image, *target.resize)))
    return keys, pixels
