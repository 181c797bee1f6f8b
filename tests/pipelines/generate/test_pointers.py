"""Git LFS pointers in place of any part of a source are recognised, and the message says what to do."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.errors import UsageError
from pipelines.generate.given import read
from pipelines.generate.sources import Missing
from pipelines.generate.sources.find import Found, find
from pipelines.generate.sources.pointers import POINTER
from pipelines.options import Inputs

# A pointer as git-lfs writes it (docs/spec.md).
LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((60, 50), 90).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


IMAGE = picture()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def labels(root: Path) -> str:
    return str(write(root / "labels.txt", b"a.jpg 1\nb.jpg 2\n"))


def annotated(root: Path) -> str:
    images = [{"id": number, "file_name": f"{name}.jpg", "width": 60, "height": 50} for number, name in enumerate("ab")]
    return str(write(root / "ann.json", json.dumps({"images": images, "annotations": [], "categories": []}).encode()))


def tree(root: Path, *images: bytes) -> tuple[str, Inputs]:
    for name, data in zip("ab", images, strict=True):
        write(root / "val" / "n01440764" / f"{name}.jpg", data)
    return "imagenet", Inputs(str(root / "val"), None, None)


def flat(root: Path, *images: bytes) -> tuple[str, Inputs]:
    for name, data in zip("ab", images, strict=True):
        write(root / "val" / f"{name}.jpg", data)
    return "imagenet", Inputs(str(root / "val"), labels(root), None)


def archive(root: Path, *images: bytes) -> tuple[str, Inputs]:
    path = tar(root / "val.tar", dict(zip(("a.jpg", "b.jpg"), images, strict=True)))
    return "imagenet", Inputs(str(path), labels(root), None)


def webdataset(root: Path, *images: bytes) -> tuple[str, Inputs]:
    path = tar(root / "val.tar", {"a.jpg": images[0], "a.cls": b"1", "b.jpg": images[1], "b.cls": b"2"})
    return "imagenet", Inputs(str(path), None, None)


def coco(root: Path, *images: bytes) -> tuple[str, Inputs]:
    flat(root, *images)
    return "coco", Inputs(str(root / "val"), None, annotated(root))


def coco_zip(root: Path, *images: bytes) -> tuple[str, Inputs]:
    with zipfile.ZipFile(root / "val.zip", "w") as file:
        for name, data in zip("ab", images, strict=True):
            file.writestr(f"val/{name}.jpg", data)
    return "coco", Inputs(str(root / "val.zip"), None, annotated(root))


def cityscapes(root: Path, *images: bytes) -> tuple[str, Inputs]:
    for name, data in zip("ab", images, strict=True):
        write(root / "leftImg8bit" / "val" / "ulm" / f"{name}_leftImg8bit.png", data)
        write(root / "gtFine" / "val" / "ulm" / f"{name}_gtFine_labelIds.png", LFS)
    return "cityscapes", Inputs(str(root), None, None)


Layout = Callable[..., tuple[str, Inputs]]
LAYOUTS: list[Layout] = [tree, flat, archive, webdataset, coco, coco_zip, cityscapes]


def found(dataset: str, inputs: Inputs) -> Found:
    return find(dataset, inputs, None)


def refused(dataset: str, inputs: Inputs) -> str:
    with pytest.raises(UsageError) as caught:
        found(dataset, inputs)
    return str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_that_are_all_pointers_are_refused(layout: Layout, tmp_path: Path) -> None:
    message = refused(*layout(tmp_path, LFS, LFS))
    assert "is a Git LFS pointer, not the file itself: run `git lfs pull`" in message


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_pointer_is_a_failed_sample_and_a_note(layout: Layout, tmp_path: Path) -> None:
    made = found(*layout(tmp_path, IMAGE, LFS))
    assert "is a Git LFS pointer; 1 of 2 images are small enough to be one" in made.notes[-1]
    first, second = read(made.source, list(made.samples))
    assert first.data == IMAGE
    assert second.data == POINTER
    assert made.samples[0].key.startswith("a")


@pytest.mark.parametrize("layout", [tree, flat, archive, webdataset, coco, coco_zip])
def test_ordinary_files_get_no_note(layout: Layout, tmp_path: Path) -> None:
    assert found(*layout(tmp_path, IMAGE, b"\xff\xd8 damaged")).notes == []


def test_label_maps(tmp_path: Path) -> None:
    made = found(*cityscapes(tmp_path, IMAGE, IMAGE))
    assert [given.classes for given in read(made.source, list(made.samples))] == [POINTER, POINTER]


@pytest.mark.parametrize("name", ["val.tar", "validation-00000-of-00001.parquet"])
@pytest.mark.parametrize("inside", [True, False])
def test_archives(name: str, inside: bool, tmp_path: Path) -> None:
    path = write(tmp_path / name, LFS)
    message = refused("imagenet", Inputs(str(tmp_path if inside else path), None, None))
    assert message.startswith(f"{path} is a Git LFS pointer, not the file itself")


def test_zips_and_lists(tmp_path: Path) -> None:
    pointer = str(write(tmp_path / "pointer", LFS))
    zipped = str(write(tmp_path / "val.zip", LFS))
    assert refused("coco", Inputs(zipped, None, annotated(tmp_path))).startswith(f"{zipped} is a Git LFS pointer")
    dataset, inputs = flat(tmp_path, IMAGE, IMAGE)
    assert refused(dataset, Inputs(inputs.source, pointer, None)).startswith(f"{pointer} is a Git LFS pointer")
    assert refused("coco", Inputs(inputs.source, None, pointer)).startswith(f"{pointer} is a Git LFS pointer")


def test_rows_of_parquet(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": data, "path": name}, "label": 3} for name, data in (("a.jpg", IMAGE), ("b.jpg", LFS))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "val.parquet")
    made = found("imagenet", Inputs(str(tmp_path), None, None))
    assert [isinstance(given.data, Missing) for given in read(made.source, list(made.samples))] == [False, True]


@pytest.mark.parametrize("name", ["", "val", "validation-00.tar", "validation-00000-of-00001.parquet"])
def test_a_clone_without_its_files(data: Path, name: str) -> None:
    assert "a Git LFS pointer" in refused("imagenet", Inputs(str(data / "field" / "lfs" / name), None, None))
