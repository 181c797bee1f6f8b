"""Annotation and results files as they occur in practice: read if they are unambiguous, else refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UsageError
from pipelines.evaluate.detection.annotations import Annotations, boxes_of, masks_of
from pipelines.evaluate.detection.matching import match
from pipelines.evaluate.detection.precision import Precision
from pipelines.evaluate.detection.results import Known, Reading, read_results
from tests.fuzzing import HOSTILE, fuzz, outcome
from tests.pipelines.evaluate.detection.cocoeval import Detections, annotations_of

CATEGORIES = (5, 9)
READINGS = [Reading(allow_empty=True, iou_type=kind) for kind in ("bbox", "segm")]


def truth() -> dict[str, Any]:
    """Three images with seven objects, one of which is a crowd."""
    annotations = []
    for place in range(7):
        x, y, side = 3.0 * place, 2.0, 10.0 + place
        corners = [x, y, x + side, y, x + side, y + side, x, y + side]
        own = {"id": place, "image_id": 1 + place % 3, "category_id": CATEGORIES[place % 2]}
        shape = {"bbox": [x, y, side, side], "area": side * side, "segmentation": [corners]}
        annotations.append({**own, **shape, "iscrowd": int(place == 6)})
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 60, "height": 40} for number in (1, 2, 3)]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": str(number)} for number in CATEGORIES],
    }


def perfect(content: dict[str, Any]) -> Detections:
    names = ("image_id", "category_id", "bbox", "segmentation")
    return [{**{name: own[name] for name in names}, "score": 0.5} for own in content["annotations"]]


def scored(folder: Path, content: Any, found: Any, reading: Reading = READINGS[0]) -> tuple[float, Annotations]:
    path, results = folder / "instances.json", folder / "pil.json"
    path.write_text(json.dumps(content))
    results.write_text(json.dumps(found))
    known = annotations_of(path)
    ids = sorted(known.ids.values())
    objects = (boxes_of if reading.iou_type == "bbox" else masks_of)(known, ids)
    detections = read_results(results, Known(known.images, known.categories, ids, known.sizes, {}), reading)
    matches = match(objects, detections, len(known.categories))
    return float(Precision(matches.categories, len(ids)).mean(np.ones((1, len(ids))))[0]), known


@pytest.mark.parametrize(
    ("lacking", "note"),
    [
        ("area", "7 of 7 objects (first: number 1 of its `annotations`) have no `area`: that of the box is used"),
        ("iscrowd", "7 of 7 objects (first: number 1 of its `annotations`) have no `iscrowd`: read as 0"),
        ("id", None),
        ("segmentation", None),
    ],
)
@pytest.mark.parametrize("gone", [True, False])
def test_boxes_need_no_other_fields(lacking: str, note: str | None, gone: bool, tmp_path: Path) -> None:
    content = truth()
    found = perfect(content)
    for own in content["annotations"]:
        own[lacking] = None
        if gone:
            del own[lacking]
    value, known = scored(tmp_path, content, found)
    assert value == pytest.approx(1, abs=1e-12)
    if note is None:
        assert not known.notes
    else:
        (found_note,) = known.notes
        assert note in found_note


def test_float_ids_without_a_fraction_are_read_as_integers(tmp_path: Path) -> None:
    content = truth()
    found = perfect(content)
    for entries, names in (
        (content["images"], ("id",)),
        (content["categories"], ("id",)),
        (content["annotations"], ("image_id", "category_id")),
        (found, ("image_id", "category_id")),
    ):
        for own in entries:
            own.update({name: float(own[name]) for name in names})
    value, known = scored(tmp_path, content, found)
    assert value == pytest.approx(1, abs=1e-12)
    assert {type(number) for number in (*known.images, *known.categories)} == {int}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("bbox", None, r"1 of 7 objects .* have no `bbox` .*\(first: number 3 of its `annotations`, in image 3, which"),
        ("bbox", [], r"1 of 7 .* no `bbox` .* which has \[\]"),
        ("bbox", [1, 2, 3], "no `bbox`"),
        ("bbox", [1, 2, -3, 4], "no `bbox`"),
        ("bbox", [1, 2, "3", 4], "no `bbox`"),
        ("iscrowd", "0", r"1 of 7 .* no `iscrowd` that is 0 or 1 .*number 3 of its `annotations`.* which has \"0\""),
        ("image_id", "3", r"1 of 7 entries of `annotations` with no `image_id` that is an integer \(first: number 3, "),
        ("image_id", 3.5, "no `image_id` that is an integer"),
        ("category_id", "9", "no `category_id` that is an integer"),
        ("category_id", True, "no `category_id` that is an integer"),
    ],
)
def test_a_field_that_cannot_be_read_is_named_with_its_count_and_the_first(
    field: str, value: Any, message: str, tmp_path: Path
) -> None:
    content = truth()
    content["annotations"][2][field] = value
    with pytest.raises(UsageError, match=message):
        scored(tmp_path, content, perfect(truth()))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"image_id": 1, "id": 1, "caption": "a dog"}, "is of captions: give a file of objects with boxes"),
        ({"image_id": 1, "segments_info": [], "file_name": "1.png"}, "is of panoptic segments: give a file"),
    ],
)
def test_other_kinds_of_annotations_are_named(own: dict[str, Any], message: str, tmp_path: Path) -> None:
    content = truth() | {"annotations": [own]}
    for more in (content, {name: value for name, value in content.items() if name != "categories"}):
        with pytest.raises(UsageError, match=message):
            scored(tmp_path, more, [])


@pytest.mark.parametrize("name", ["annotations", "categories"])
def test_a_missing_list_is_named(name: str, tmp_path: Path) -> None:
    content = truth()
    del content[name]
    with pytest.raises(UsageError, match=f"has no list of `{name}`"):
        scored(tmp_path, content, [])


def test_objects_of_unknown_categories_are_counted_and_skipped(tmp_path: Path) -> None:
    content = truth()
    content["annotations"][3]["category_id"] = 77
    value, known = scored(tmp_path, content, perfect(content)[:3] + perfect(content)[4:])
    assert value == pytest.approx(1, abs=1e-12)
    wanted = "1 of 7 objects are skipped, since their categories are not listed (first: number 4 of its"
    assert wanted in known.notes[0]


def changed(draw: Callable[[Any], Any], content: Any) -> None:
    """Delete, replace or nest a field somewhere."""
    place = draw(st.sampled_from(list(places(content))))
    owner: Any = content
    for step in place[:-1]:
        owner = owner[step]
    way = draw(st.sampled_from(("delete", "hostile", "nest", "text", "first")))
    if way == "delete":
        del owner[place[-1]]
    else:
        value = owner[place[-1]]
        first = value[0] if isinstance(value, list) and value else None
        others = {"nest": [value], "text": str(value), "first": first}
        owner[place[-1]] = draw(st.sampled_from(HOSTILE)) if way == "hostile" else others[way]


def places(value: Any, before: tuple[Any, ...] = ()) -> Any:
    """The paths of all values in a JSON value."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield (*before, step)
        yield from places(inner, (*before, step))


@fuzz(300)
@given(data=st.data())
def test_no_python_error_reaches_the_user(tmp_path: Path, data: st.DataObject) -> None:
    content = truth()
    found: Any = perfect(content)
    reading = data.draw(st.sampled_from(READINGS))
    for _ in range(data.draw(st.integers(1, 2))):
        changed(data.draw, data.draw(st.sampled_from([one for one in (content, found) if one])))
    value = outcome(lambda: scored(tmp_path, content, found, reading))
    assert value is None or 0 <= value[0] <= 1 or np.isnan(value[0])
