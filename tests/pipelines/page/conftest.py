"""A set to make pages of: photographs of one frame size, one that EXIF turns, and one that only FFmpeg can decode."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Command, Once

VARIANTS = ("pil_bilinear", "opencv", "ffmpeg", "opencv_exif", "pil_nearest", "opencv_area", "nv12_ascend+pil_nearest")
COUNT = 12
TRUNCATED = "photograph_11"


@pytest.fixture(scope="session")
def paged(once: Once, photographs: dict[str, bytes], generate: Command) -> Path:
    """`out/imagenet`: `VARIANTS` of 12 photographs in three shards, 48 pixels wide."""

    def make(folder: Path) -> None:
        source = folder / "source"
        source.mkdir()
        several = sorted(photographs.values(), key=len) * 2
        for index, data in enumerate(several[:COUNT]):
            picture = Image.open(io.BytesIO(data)).convert("RGB")
            left, top = 7 * index, 5 * index
            cut = picture.crop((left, top, left + 180, top + 140 + index))
            exif = Image.Exif()
            if index == 4:
                exif[0x0112] = 3  # upside down: the frame keeps its size
            buffer = io.BytesIO()
            cut.save(buffer, "JPEG", quality=85, exif=exif)
            whole = buffer.getvalue()
            name = f"photograph_{index:02}"
            (source / f"{name}.jpg").write_bytes(whole[: len(whole) // 2] if name == TRUNCATED else whole)
        labels = folder / "labels.txt"
        labels.write_text("".join(f"{path.name} {place}\n" for place, path in enumerate(sorted(source.iterdir()))))
        words = ("--dataset", "imagenet", "--source", source, "--labels", labels, "--size", 48)
        cut_by = ("--samples-per-shard", 5, "--output", folder / "out")
        generate("--variant", ",".join(VARIANTS), *words, *cut_by, status=1)

    return once("paged", make) / "out" / "imagenet"
