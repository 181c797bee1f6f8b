"""Class folders on a disk and in tars, and what is found in them."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from pipelines.errors import UsageError
from pipelines.generate.sources import Missing
from pipelines.generate.sources.find import Found, find
from pipelines.generate.sources.labels import label_by_synset
from pipelines.options import Inputs

SYNSETS = list(label_by_synset())
READ = ("JPEG", "jpg", "png", "webp", "bmp", "jfif", "jpe", "tif", "tiff")
LITTER = (".DS_Store", "._a.jpg", "Thumbs.db", "desktop.ini", "DESKTOP.INI", "__MACOSX/a.jpg", "__MACOSX/._a.jpg")


def picture(seed: int, suffix: str) -> bytes:
    """A small image in the format named by a suffix; each seed gives another."""
    buffer = io.BytesIO()
    pixels = Image.frombytes("RGB", (5, 4), random.Random(seed).randbytes(60))
    pixels.save(buffer, Image.registered_extensions()[f".{suffix.lower()}"])
    return buffer.getvalue()


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def found(source: Path, labels: Path | None = None) -> Found:
    return find("imagenet", Inputs(str(source), str(labels) if labels else None, None), None)


def contents(source: Path, labels: Path | None = None) -> dict[str, tuple[int, bytes | Missing]]:
    """Label and bytes of every sample, by key."""
    got = found(source, labels)
    read = got.source.read(got.samples)
    return {sample.key: (sample.label, data) for sample, data in zip(got.samples, read, strict=True)}


def refused(source: Path, labels: Path | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        found(source, labels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def packed(path: Path, root: Path, mode: str = "w", arcname: str = "val") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload] # modes are drawn
        archive.add(root, arcname)
    return path
