"""One small set of images, as a source in every layout that can be read."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipelines.options import Inputs

# Noise with sides of this many pixels: files of some 10 to 60 kB.
SIDES = {"a 1": 100, "b": 160, "c+ü": 130, "d": 200, "e": 110, "f": 250}
LABELS = dict(zip(SIDES, (0, 65, 65, 999, 970, 0), strict=True))
SYNSETS = {0: "n01440764", 65: "n01751748", 970: "n09193705", 999: "n15075141"}


def jpeg(side: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


IMAGES = {name: jpeg(side) for name, side in SIDES.items()}


def tree(root: Path) -> Inputs:
    for name, data in IMAGES.items():
        write(root / "tree" / SYNSETS[LABELS[name]] / f"{name}.JPEG", data)
    write(root / "tree" / "notes.txt", b"")
    return Inputs(str(root / "tree"), None, None)


def flat(root: Path) -> Inputs:
    for name, data in IMAGES.items():
        write(root / "flat" / f"{name}.JPEG", data)
    write(root / "list.txt", "".join(f"{name}.JPEG {label}\n" for name, label in LABELS.items()).encode())
    write(root / "list.txt", (root / "list.txt").read_bytes() + b"none.JPEG 7\n")
    return Inputs(str(root / "flat"), str(root / "list.txt"), None)


def archive(root: Path) -> Inputs:
    flat(root)
    tar(root / "val.tar", [(f"{name}.JPEG", data) for name, data in reversed(IMAGES.items())])
    return Inputs(str(root / "val.tar"), str(root / "list.txt"), None)


def webdataset(root: Path) -> Inputs:
    for part, names in enumerate((list(IMAGES)[:4], list(IMAGES)[4:])):
        members = []
        for name in names:
            members += [(f"{name}.jpg", IMAGES[name]), (f"{name}.cls", str(LABELS[name]).encode())]
        tar(root / "tars" / f"val-{part}.tar", members)
    return Inputs(str(root / "tars"), None, None)


def parquet(root: Path) -> Inputs:
    kind = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
    rows = [{"image": {"bytes": data, "path": f"{n}.JPEG"}, "label": LABELS[n]} for n, data in IMAGES.items()]
    for part, held in enumerate((rows[:4], rows[4:])):
        path = root / "hub" / "data" / f"validation-{part}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(held, schema=kind), path, row_group_size=2)
    return Inputs(str(root / "hub"), None, None)


def coco(root: Path) -> Inputs:
    for name, data in IMAGES.items():
        write(root / "val2017" / f"{name}.jpg", data)
    images = [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate((*IMAGES, "none"))]
    write(root / "instances.json", json.dumps({"images": images, "annotations": []}).encode())
    return Inputs(str(root / "val2017"), None, str(root / "instances.json"))


def coco_zip(root: Path) -> Inputs:
    inputs = coco(root)
    with zipfile.ZipFile(root / "val2017.zip", "w") as file:
        for index, (name, data) in enumerate(reversed(IMAGES.items())):
            file.writestr(f"val2017/{name}.jpg", data, zipfile.ZIP_DEFLATED if index % 2 else zipfile.ZIP_STORED)
    return replace(inputs, source=str(root / "val2017.zip"))


def cityscapes(root: Path) -> Inputs:
    for name, data in IMAGES.items():
        town, number = ("bonn" if len(name) > 1 else "ulm"), ord(name[0])
        write(root / "city" / "leftImg8bit" / "val" / town / f"{name}_leftImg8bit.png", data)
        buffer = io.BytesIO()
        Image.new("L", (SIDES[name], SIDES[name]), number % 34).save(buffer, "PNG")
        if name != "d":
            write(root / "city" / "gtFine" / "val" / town / f"{name}_gtFine_labelIds.png", buffer.getvalue())
    return Inputs(str(root / "city"), None, None)


def ljspeech(root: Path) -> Inputs:
    for name, data in IMAGES.items():
        write(root / "lj" / "wavs" / f"{name}.wav", data)
    write(root / "lj" / "metadata.csv", "".join(f"{name}|text|of {name}\n" for name in (*IMAGES, "none")).encode())
    return Inputs(str(root / "lj"), None, None)


def speech_tars(root: Path) -> Inputs:
    for part, names in enumerate((list(IMAGES)[:4], list(IMAGES)[4:])):
        members = [each for name in names for each in ((f"{name}.flac", IMAGES[name]), (f"{name}.txt", name.encode()))]
        tar(root / "speech" / f"val-{part}.tar", members)
    return Inputs(str(root / "speech"), None, None)


LAYOUTS = {
    "tree": (tree, "imagenet"),
    "flat": (flat, "imagenet"),
    "tar": (archive, "imagenet"),
    "webdataset": (webdataset, "imagenet"),
    "parquet": (parquet, "imagenet"),
    "coco": (coco, "coco"),
    "coco-zip": (coco_zip, "coco"),
    "cityscapes": (cityscapes, "cityscapes"),
    "ljspeech": (ljspeech, "speech"),
    "speech-tars": (speech_tars, "speech"),
}


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
