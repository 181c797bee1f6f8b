"""`score.py match`: each mistake in a dump is refused in one line."""

from __future__ import annotations

import io
import pickle
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import RunError, UsageError
from pipelines.evaluate.match import match
from pipelines.evaluate.options import MatchOptions
from tests.pipelines.evaluate.match.dumps import MEAN, SCALE, STD, Images, as_bgr, as_png, normalised


class Trap:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("how", ["plain", "in an array"])
def test_pickles_are_never_loaded(how: str, root: Path, tmp_path: Path) -> None:
    dump, mark = tmp_path / "dump", tmp_path / "mark"
    dump.mkdir()
    if how == "plain":
        (dump / "china.npy").write_bytes(pickle.dumps(Trap(mark)))
    else:
        np.save(dump / "china.npy", np.array([Trap(mark)], object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"china\.npy (is a pickle, which is never loaded|cannot be read .*objects)"):
        match(MatchOptions(str(root), dump))
    assert not mark.exists()


def png(image: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
NORMALISED = {"mean": MEAN, "std": STD, "scale": SCALE}


@pytest.mark.parametrize(
    ("files", "options", "line"),
    [
        ({}, {}, r"no \.png or \.npy file in .* \(it is empty\): dump lossless"),
        ({"china.jpg": b"x"}, {}, r"no \.png or \.npy file in .* \(it has china\.jpg\): dump lossless"),
        ({"peking.png": png(NOISE)}, {}, r"no file in .* it has peking\.png, but keys are like astronaut"),
        ({"china.png": b"", "china.JPEG.npy": b""}, {}, r"china\.JPEG\.npy and china\.png in .* are both for china"),
        ({"china.png": png(NOISE)[:500]}, {}, r"china\.png cannot be read \(.*\): dump it again"),
        ({"china.npy": npy(NOISE)[:500]}, {}, r"china\.npy cannot be read \(.*\): dump it again"),
        ({"china.npy": b"PK\x03\x04"}, {}, r"china\.npy is not an npy file: write it with np\.save"),
        ({"china.png": png(NOISE[..., 0])}, {}, r"china\.png is a PNG of mode L: save it as 8-bit RGB"),
        ({"china.png": png(NOISE[..., [0, 1, 2, 0]])}, {}, r"china\.png is a PNG of mode RGBA: save it as 8-bit RGB"),
        ({"china.npy": npy(NOISE[..., 0])}, {}, r"is 224×224, not H×W×3 or 3×H×W .*: dump the RGB input"),
        ({"china.npy": npy(np.stack([NOISE] * 2))}, {}, r"is a batch of 2 \(2×224×224×3\): write a file for each"),
        ({"china.npy": npy(NOISE[:3])}, {}, r"is 3×224×3, which is ambiguous: give --layout hwc or chw"),
        ({"china.npy": npy(NOISE)}, {"layout": "chw"}, r"is 224×224×3, not 3×H×W"),
        ({"china.npy": npy(NOISE.astype(complex))}, {}, r"has dtype complex128, not real numbers"),
        (
            {"china.npy": npy(NOISE)},
            NORMALISED,
            r"china\.npy is uint8, so it has pixels already: leave out --mean, --s",
        ),
        (
            {"china.npy": npy(np.where(NOISE > 254, np.nan, 1.0))},
            {},
            r"china\.npy has NaN or infinity in [\d,]+ values",
        ),
        ({"china.npy": npy(NOISE / 255)}, {}, r"no value in the dump is above 1: .* give the --mean.*0\.00392157"),
        (
            {"china.npy": npy(normalised(NOISE, "f4"))},
            {},
            r"values from -2\.118 to 2\.64, not 0 to 255: give the --mean",
        ),
        ({"china.npy": npy(NOISE * 1.0)}, NORMALISED, r"values from .* once --mean, --std and --scale are undone"),
        ({"china.npy": npy(NOISE)}, {"std": (1, 0, 1)}, r"--std and --scale not 0"),
        (
            {"china.png": png(NOISE[:200, :200])},
            {},
            r"china\.png is 200×200, but 224×224 in the shards: .*--size 200 a",
        ),
        ({"china.png": png(NOISE[:200])}, {}, r"china\.png is 224×200, .* --geometry stretch --size 224x200"),
        (
            {"broken.png": png(NOISE)},
            {},
            r"has only samples that failed in some variant \(such as broken\): dump other",
        ),
    ],
)
def test_a_mistake_has_one_line(
    files: dict[str, bytes], options: dict[str, Any], line: str, root: Path, tmp_path: Path
) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=line) as caught:
        match(MatchOptions(str(root), tmp_path, **options))
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        match(MatchOptions(str(root), tmp_path / "nowhere"))


def test_swapped_channels_are_noticed(root: Path, stored: dict[str, Images], tmp_path: Path) -> None:
    bgr = as_bgr(tmp_path / "bgr", stored["opencv_area"])
    with pytest.raises(UsageError, match=r"with red and blue swapped, the dump is far nearer .*: give --channels bgr"):
        match(replace(bgr, shards=str(root), channels="rgb"))
    rgb = as_png(tmp_path / "rgb", stored["opencv_area"])
    with pytest.raises(UsageError, match="give --channels rgb"):
        match(replace(rgb, shards=str(root), channels="bgr"))


def test_a_tar_without_its_images_is_named(root: Path, stored: dict[str, Images], tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy")
    (path,) = (tmp_path / "copy" / "pil_lanczos").glob("*.tar")
    tarfile.open(path, "w").close()
    options = replace(as_png(tmp_path / "dump", stored["ffmpeg"]), shards=str(tmp_path / "copy"))
    with pytest.raises(RunError, match=r"pil_lanczos lacks the image of astronaut: run verify\.py"):
        match(options)
