"""COCO images as people name and keep them: in folders, with backslashes, in a Mac's zip, rotated by EXIF."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from manifests.row import is_key
from pipelines.errors import UsageError
from pipelines.generate.frames import misfit
from pipelines.generate.sources import Catalogue, Listing, open_coco
from pipelines.generate.sources.base import is_litter
from pipelines.store import Disk
from tests.conftest import Command
from tests.fuzzing import fuzz


def picture(number: int, orientation: int = 1, size: tuple[int, int] = (24, 16)) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size, (number * 20 % 256, 10, 99)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def annotated(folder: Path, images: list[dict[str, Any]], name: str = "ann.json") -> Path:
    path = folder / name
    content = {
        "images": [{"id": place, **own} for place, own in enumerate(images)],
        "annotations": [],
        "categories": [],
    }
    path.write_text(json.dumps(content))
    return path


def in_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def in_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def listed(source: Path, annotations: Path) -> tuple[dict[str, tuple[int, bytes]], Listing]:
    """Image id and bytes, by key."""
    opened = open_coco(Disk(str(source)), Disk(str(annotations)))
    listing = opened.listing()
    samples = Catalogue(listing.samples)
    assert all(is_key(sample.key) for sample in samples)
    read = zip(samples, opened.read(samples), strict=True)
    return {
        sample.key: (sample.extra[0][1], data if isinstance(data, bytes) else b"") for sample, data in read
    }, listing


LAID = {f"v1/patch{number % 2}/{number}.jpg": picture(number) for number in range(5)}
BY_KEY = {str(number): (number, picture(number)) for number in range(5)}


@pytest.mark.parametrize(
    "written",
    ["{}", "images/{}", "./{}", "/data/set/{}", "..\\{}", "C:\\set\\images\\{}", "images//{}"],
)
@pytest.mark.parametrize("windows", [False, True])
def test_images_are_found_however_file_name_is_written(written: str, windows: bool, tmp_path: Path) -> None:
    names = [written.format(name) for name in LAID]
    names = [name.replace("/", "\\") for name in names] if windows else names
    annotations = annotated(tmp_path, [{"file_name": name} for name in names])
    deep, flat = tmp_path / "set", tmp_path / "flat"
    in_folder(deep, LAID)
    in_folder(flat, {Path(name).name: data for name, data in LAID.items()})
    archives = [
        in_zip(tmp_path / "as_they_are.zip", LAID),
        in_zip(tmp_path / "deeper.zip", {f"set/images/{name}": data for name, data in LAID.items()}),
        in_zip(tmp_path / "of_windows.zip", {name.replace("/", "\\"): data for name, data in LAID.items()}),
        in_zip(tmp_path / "flat.zip", {Path(name).name: data for name, data in LAID.items()}),
    ]
    for source in (deep, flat, *archives):
        found, listing = listed(source, annotations)
        assert found == BY_KEY, source
        assert not listing.notes or source.name == "deeper.zip"


def test_lvis_has_only_urls(tmp_path: Path) -> None:
    names = [f"http://images.cocodataset.org/{name}?size=full" for name in LAID]
    annotations = annotated(tmp_path, [{"coco_url": name} for name in names])
    found, _ = listed(in_folder(tmp_path / "set", LAID), annotations)
    assert found == BY_KEY


@pytest.mark.parametrize("zipped", [False, True])
def test_files_left_by_macs_are_not_images(zipped: bool, tmp_path: Path) -> None:
    litter = {
        **{f"__MACOSX/val/{folder}._{number}.jpg": b"\0\5\x16\7" for number in range(5) for folder in ("", "a/")},
        **{f"val/._{number}.jpg": b"\0\5\x16\7" for number in range(5)},
        **{"val/.DS_Store": b"", "val/Thumbs.db": b"", "desktop.ini": b""},
    }
    files = {f"val/{number}.jpg": picture(number) for number in range(5)} | litter
    annotations = annotated(tmp_path, [{"file_name": f"{number}.jpg"} for number in range(5)])
    source = in_zip(tmp_path / "val.zip", files) if zipped else in_folder(tmp_path / "set", files) / "val"
    found, listing = listed(source, annotations)
    assert found == BY_KEY
    assert not listing.notes


@pytest.mark.parametrize("name", ["a/__MACOSX/x.jpg", "__MACOSX", "._x", "a/._x.JPEG", "a/thumbs.DB", "Desktop.ini"])
def test_litter(name: str) -> None:
    assert is_litter(name)
    assert not is_litter(name.replace("_", "-").replace(".", "-"))


def test_decomposed_accents_match_composed_ones(tmp_path: Path) -> None:
    annotations = annotated(tmp_path, [{"file_name": "caf\u00e9.jpg"}])
    found, listing = listed(in_zip(tmp_path / "val.zip", {"val/cafe\u0301.jpg": picture(0)}), annotations)
    assert found == {"caf\u00e9": (0, picture(0))}
    assert not listing.notes


_parts = st.sampled_from(["a", "b", "a_b", "c.d", "x y", "val"])
_paths = st.lists(st.tuples(st.lists(_parts, max_size=3), st.sampled_from(["1", "2", "x.y"])), min_size=1, max_size=8)


@fuzz(60)
@given(laid=_paths.map(lambda paths: sorted({"/".join([*folders, f"{name}.jpg"]) for folders, name in paths})))
def test_equal_names_in_different_folders_get_distinct_keys(
    laid: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("laid")
    files = {name: picture(place) for place, name in enumerate(laid)}
    annotations = annotated(folder, [{"file_name": name} for name in laid])
    sources = [in_folder(folder / "here" / "set", files), in_zip(folder / "there.zip", files)]
    found = [listed(source, annotations)[0] for source in sources]
    assert found[0] == found[1]
    assert len(found[0]) == len(laid)
    assert sorted(found[0].values()) == [(place, data) for place, data in enumerate(files.values())]
    stems = [name.rpartition("/")[2] for name in laid]
    for name in laid:
        own = name.rpartition("/")[2]
        if stems.count(own) == 1:
            assert found[0][own[:-4].replace(".", "_")][1] == files[name]


def test_a_file_that_could_be_two_images_is_refused(tmp_path: Path) -> None:
    annotations = annotated(tmp_path, [{"file_name": "a/1.jpg"}, {"file_name": "b/1.jpg"}])
    flat = in_folder(tmp_path / "set", {"1.jpg": picture(1)})
    with pytest.raises(
        UsageError, match=r"1.jpg may be the image a/1.jpg or b/1.jpg in the annotations: give as --source"
    ):
        listed(flat, annotations)
    # The source's own name decides, if it is one of the two folders.
    found, listing = listed(in_folder(tmp_path / "a", {"1.jpg": picture(1)}), annotations)
    assert found == {"a_1": (0, picture(1)), "b_1": (1, b"")}
    assert "lists b/1.jpg missing from the source" in listing.notes[-1]


def test_an_image_that_could_be_two_files_is_refused(tmp_path: Path) -> None:
    annotations = annotated(tmp_path, [{"file_name": "1.jpg"}])
    archive = in_zip(tmp_path / "all.zip", {"train/1.jpg": picture(1), "val/1.jpg": picture(2)})
    with pytest.raises(UsageError, match=r"the image 1.jpg in the annotations may be train/1.jpg or val/1.jpg"):
        listed(archive, annotations)


def test_images_in_other_folders_are_used_and_reported_unless_the_stated_folder_exists(tmp_path: Path) -> None:
    annotations = annotated(tmp_path, [{"file_name": "images/1.jpg"}])
    found, listing = listed(in_zip(tmp_path / "val.zip", {"val2017/1.jpg": picture(1)}), annotations)
    assert found == {"1": (0, picture(1))}
    assert "found by their names: 1 (images/1.jpg is val2017/1.jpg)" in listing.notes[0]
    mixed = in_zip(tmp_path / "mixed.zip", {"images/2.jpg": picture(2), "val2017/1.jpg": picture(1)})
    with pytest.raises(UsageError, match="lists none of the 2 images"):
        listed(mixed, annotations)


def test_a_source_one_level_too_high_is_named(tmp_path: Path) -> None:
    root = in_folder(tmp_path / "set", {"val2017/1.jpg": picture(1)})
    with pytest.raises(
        UsageError, match=r"no images in .*set: its folder val2017 has some, so give --source .*val2017"
    ):
        listed(root, annotated(tmp_path, [{"file_name": "1.jpg"}]))


def rows(seed: int) -> tuple[list[dict[str, Any]], dict[str, tuple[int, int]], set[str]]:
    """Rows of images, their sizes once rotated, and the keys of those whose stored size differs."""
    random = np.random.default_rng(seed)
    found, stated, wrong = [], {}, set()
    for number in range(20):
        orientation, (width, height) = int(random.integers(1, 9)), random.integers(10, 90, 2).tolist()
        key = f"{number:02d}"
        own = {"key": key, "source_path": f"{key}.jpg", "source_width": width, "source_height": height}
        found.append(own | {"source_orientation": orientation})
        turned = orientation > 4 and width != height
        stated[key] = (height, width) if turned else (width, height)
        wrong |= {key} if turned else set()
    return found, stated, wrong


@pytest.mark.parametrize("seed", range(4))
def test_sizes_that_differ_are_explained_by_exif_or_not(seed: int) -> None:
    found, stated, wrong = rows(seed)
    assert misfit(found, stated, turned=True) is None
    as_stored = misfit(found, stated, turned=False)
    assert as_stored
    assert (set(as_stored.keys), as_stored.explained) == (wrong, len(wrong))
    assert as_stored.path == f"{min(wrong)}.jpg"
    assert "explained by EXIF: boxes refer to rotated images, so use opencv_exif" in str(as_stored)
    stored = {row["key"]: (row["source_width"], row["source_height"]) for row in found}
    other = misfit(found, stored, turned=True)
    assert "so use a --reference other than opencv_exif" in str(other)
    halves = {key: (width + 1, height) for key, (width, height) in stored.items()}
    unlike = misfit(found, halves | {key: stated[key] for key in list(wrong)[:1]}, turned=False)
    assert "explained by EXIF in 1 of them" in str(unlike)
    nothing = str(misfit(found, dict.fromkeys(stored, (99, 98)), turned=False))
    assert "20 of 20 images" in nothing
    assert "not explained by EXIF: are these the annotated images" in nothing


def test_boxes_on_rotated_images_are_reported_when_shards_are_made_and_scored(
    tmp_path: Path, generate: Command, command: Command
) -> None:
    files = {f"{number}.jpg": picture(number, orientation, (16, 24)) for number, orientation in enumerate((6, 1, 8))}
    upright = {"file_name": "1.jpg", "width": 16, "height": 24}
    turned = [{"file_name": f"{number}.jpg", "width": 24, "height": 16} for number in (0, 2)]
    annotations = annotated(tmp_path, [turned[0], upright, turned[1]])
    content = json.loads(annotations.read_text())
    boxes = {0: [12, 4, 10, 8], 1: [2, 4, 8, 10], 2: [12, 4, 10, 8]}
    own = [{"image_id": number, "category_id": 1, "bbox": box} for number, box in boxes.items()]
    annotations.write_text(json.dumps(content | {"annotations": own, "categories": [{"id": 1}]}))
    source = in_folder(tmp_path / "set", files)
    words = ["--dataset", "coco", "--source", source, "--annotations", annotations, "--geometry", "stretch"]
    words += ["--size", 32, "--output", tmp_path / "out"]
    done = generate(*words, "--variant", "reference,opencv_exif")
    message = "the size is not as annotated in 2 of 3 images (first: 0.jpg, 16x24 instead of 24x16), explained by EXIF"
    assert message in done.stderr
    given = tmp_path / "given"
    given.mkdir()
    for name in ("pil_bilinear", "opencv_exif"):
        # Outside the images, whichever way they are turned.
        found = [{**one, "bbox": [40, 40, 50, 50], "score": 0.5} for one in own]
        (given / f"{name}.json").write_text(json.dumps(found))
    scoring = ["--shards", tmp_path / "out" / "coco", "--predictions", given, "--annotations", annotations]
    for more in ((), ("--boxes", "shard")):
        refused = command("score.py", *scoring, *more, "--output", tmp_path / "report")
        assert refused.returncode == 2
        assert message in refused.stderr
        assert "--boxes" not in refused.stderr


def test_field_samples(data: Path) -> None:
    field = data / "field"
    for source, name, count in (
        (field / "coco" / "images", "backslashes.json", 6),
        (field / "coco" / "mac.zip", "mac.json", 4),
        (field / "coco_folders" / "root", "../coco_folders/ann.json", 4),
    ):
        found, _ = listed(source, field / "coco" / name)
        assert len(found) == count
        assert all(image for _, image in found.values())


@pytest.mark.parametrize("box", [None, [], [1, 2, 3], "1 2 3 4"])
def test_annotations_without_a_box_are_reported_if_others_have_one(tmp_path: Path, box: object) -> None:
    path = annotated(tmp_path, [{"id": 7, "file_name": "a.jpg"}])
    content = json.loads(path.read_text())
    whole = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}
    content |= {"categories": [{"id": 1, "name": "thing"}], "annotations": [whole, {**whole, "bbox": box}]}
    path.write_text(json.dumps(content))
    root = in_folder(tmp_path / "images", {"a.jpg": picture(1)})
    notes = open_coco(Disk(str(root)), Disk(str(path))).listing().notes
    assert notes == [
        f"{path}: 1 of 2 annotations with no `bbox` of four numbers (first: number 2): shards can be made, but boxes "
        "cannot be scored with it"
    ]
    content["annotations"] = [whole]
    path.write_text(json.dumps(content))
    assert open_coco(Disk(str(root)), Disk(str(path))).listing().notes == []
