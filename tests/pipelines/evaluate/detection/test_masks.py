"""Run lengths against NumPy and pycocotools, masks refused before pycocotools' C code sees them, and moved masks."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle

from generators.geometry import Frame, frame
from pipelines.evaluate.detection import masks
from pipelines.evaluate.detection.masks import BadMasksError, Place, as_rle, check, polygons_to_source, runs_to_source
from tests.pipelines.evaluate.detection.cocoeval import decoded

Mask = NDArray[np.uint8]


def compressed(mask: Mask) -> dict[str, Any]:
    """A mask in the form of COCO results."""
    found = rle.encode(np.asfortranarray(mask))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


def plain(mask: Mask) -> list[int]:
    """The run lengths of a mask, beginning outside it."""
    values = mask.ravel(order="F").tolist()
    runs = [(value, len(list(those))) for value, those in groupby(values)]
    return [length for _, length in ([(0, 0), *runs] if values[0] else runs)]


def blobs(random: np.random.Generator, width: int, height: int) -> Mask:
    """A mask of a few ellipses and specks."""
    y, x = np.mgrid[:height, :width]
    found = random.random((height, width)) < 0.01
    for _ in range(3):
        found |= ((x - random.uniform(0, width)) / 9) ** 2 + ((y - random.uniform(0, height)) / 6) ** 2 < 1
    return found.astype(np.uint8)


def test_decoded_counts_are_the_runs_of_the_masks() -> None:
    random = np.random.default_rng(0)
    drawn = [blobs(random, 70, 50) for _ in range(20)]
    drawn += [(random.random((50, 70)) < share).astype(np.uint8) for share in (0, 0.001, 0.5, 0.99, 1)]
    drawn.append(np.pad(drawn[0], ((0, 3000), (0, 700))))  # long runs
    for mask, runs in zip(drawn, masks._decoded([compressed(mask)["counts"] for mask in drawn]), strict=True):
        assert runs.tolist() == plain(mask)


GOOD = compressed(np.eye(6, 8, dtype=np.uint8))
COUNTS = plain(np.eye(6, 8, dtype=np.uint8))


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "lack a mask"),
        ([], "lack a mask"),
        ({"size": [6, 8]}, "lack a mask"),
        ({"counts": GOOD["counts"]}, "lack a mask"),
        ({"size": [6, 8], "counts": [1.0, 47]}, "lack a mask"),
        ({"size": [6, 8], "counts": [True, 47]}, "lack a mask"),
        ({**GOOD, "size": [8, 6]}, r"`size` is not the \[height, width\]"),
        ({**GOOD, "size": [6, "8"]}, r"`size` is not the \[height, width\]"),
        ({**GOOD, "counts": GOOD["counts"][:-1]}, "do not add up"),
        ({**GOOD, "counts": ""}, "do not add up"),
        ({**GOOD, "counts": "o"}, "do not add up"),
        ({**GOOD, "counts": GOOD["counts"] + "\0"}, "do not add up"),
        ({**GOOD, "counts": GOOD["counts"] + "é"}, "do not add up"),
        ({**GOOD, "counts": "PPPPPPPP1"}, "do not add up"),
        ({**GOOD, "counts": []}, "do not add up"),
        ({**GOOD, "counts": [*COUNTS, 1]}, "do not add up"),
        ({**GOOD, "counts": [-1, 49]}, "do not add up"),
        ({**GOOD, "counts": [10**400]}, "do not add up"),
        ([1, 1, 5, 1, 5, 5], "have a polygon that is not"),
        ([[1, 1, 5, 5]], "have a polygon that is not"),
        ([[1, 1, 5, 1, 5, 5, 3]], "have a polygon that is not"),
        ([[1, 1, 5, 1, 5, "5"]], "have a polygon that is not"),
        ([[1, 1, 5, 1, 5, float("nan")]], "NaN or infinite point"),
        ([[1, 1, 5, 1, 5, 10**400]], "reaches further beyond"),
        ([[1, 1, 5, 1, 5, 1e9]], "reaches further beyond"),
    ],
)
def test_invalid_masks_are_refused(segmentation: Any, message: str) -> None:
    with pytest.raises(BadMasksError, match=message) as raised:
        check([GOOD, [[1, 1, 5, 1, 5, 5]], segmentation, {"size": [6, 8], "counts": COUNTS}], [(8, 6)] * 4)
    assert raised.value.places == [2]


ENCODED = st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12)


@settings(max_examples=300)
@given(st.one_of(ENCODED, st.lists(st.integers(-3, 50), max_size=8)))
def test_accepted_masks_fill_the_image(counts: str | list[int]) -> None:
    try:
        check([{"size": [6, 8], "counts": counts}], [(8, 6)])
    except BadMasksError:
        return
    (found,) = as_rle([{"size": [6, 8], "counts": counts}], [(8, 6)])
    mask = decoded(found)
    assert mask.shape == (6, 8)
    assert int(mask.sum()) == rle.area(found)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_runs_that_fill_the_image_are_accepted_in_both_forms(counts: list[int]) -> None:
    size = [1, sum(counts)]
    if not sum(counts):
        return
    text = rle.frPyObjects({"size": size, "counts": counts}, *size)["counts"].decode()
    check([{"size": size, "counts": counts}, {"size": size, "counts": text}], [(sum(counts), 1)] * 2)
    assert masks._decoded([text])[0].tolist() == counts


def place_of(found: Frame) -> Place:
    return Place(
        (found.width, found.height), found.source, (found.scale_x, found.scale_y), (found.crop_x, found.crop_y)
    )


FRAMES = [
    frame("letterbox", 120, 90, (180,)),
    frame("letterbox", 90, 121, (50,)),
    frame("keep_ratio", 100, 75, (60, 100)),
    frame("crop", 64, 90, (56,)),
    frame("stretch", 31, 47, (80, 20)),
    frame("identity", 40, 30, ()),
]


@pytest.mark.parametrize("found", FRAMES, ids=str)
def test_a_moved_mask_has_the_shard_s_value_at_the_centre_of_each_pixel(found: Frame) -> None:
    place = place_of(found)
    random = np.random.default_rng(1)
    for mask in (blobs(random, *place.size), *(np.full(place.size[::-1], value, np.uint8) for value in (0, 1))):
        expected = np.zeros(place.source[::-1], np.uint8)
        for y, x in np.ndindex(expected.shape):
            column, row = np.floor(np.array([x + 0.5, y + 0.5]) * place.scale - place.crop).astype(int)
            if 0 <= row < len(mask) and 0 <= column < len(mask[0]):
                expected[y, x] = mask[row, column]
        for one in (compressed(mask), {"size": list(mask.shape), "counts": plain(mask)}):
            moved = runs_to_source(one, place)
            check([moved], [place.source])
            assert np.array_equal(decoded(as_rle([moved], [place.source])[0]), expected)
            assert 0 not in moved["counts"][1:-1]


@pytest.mark.parametrize("found", FRAMES, ids=str)
def test_polygons_come_back(found: Frame) -> None:
    polygons = [[3.0, 4.0, 20.5, 4.0, 11.0, 28.25], [1.0, 1.0, 2.0, 1.0, 2.0, 3.0]]
    out = [found.to_output(np.array(one)).tolist() for one in polygons]
    assert np.concatenate(polygons_to_source(out, place_of(found))) == pytest.approx(np.concatenate(polygons))


@pytest.mark.parametrize(("geometry", "size"), [("letterbox", (640,)), ("keep_ratio", (800, 1333))])
def test_real_masks_come_back_from_a_shard(geometry: str, size: tuple[int, ...], data: Path) -> None:
    """Ground truth that Pillow draws in a shard's pixels and that is moved back hardly changes."""
    content = json.loads((data / "coco" / "annotations" / "instances_masks.json").read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    truths = [truth for truth in content["annotations"] if truth["area"] > 400][:150]
    own = [sizes[truth["image_id"]] for truth in truths]
    check([truth["segmentation"] for truth in truths], own)
    overlaps = []
    for truth, (width, height) in zip(as_rle([truth["segmentation"] for truth in truths], own), own, strict=True):
        found = frame(geometry, width, height, size)
        assert found.resize is not None  # these geometries resize
        resized = Image.fromarray(decoded(truth)).resize(found.resize, Image.Resampling.NEAREST)
        moved = runs_to_source(compressed(found.cut(np.array(resized), padding=1)), place_of(found))
        overlaps.append(rle.iou(as_rle([moved], [(width, height)]), [truth], [0])[0, 0])
    assert len(overlaps) == 150
    assert min(overlaps) > 0.95
