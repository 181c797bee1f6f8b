"""torchvision: its methods equal direct calls of it, and any file gives pixels or a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.generators.foreign.direct import Job, finish, release, start
from tests.generators.foreign.suited import SIZES, digests, put, resizes, version
from tests.generators.foreign.test_programs import alive, awkward, call, encoded, outcome
from tests.real import photographs_of

VERSION = version("torchvision")
RESIZES = [method.token for method in resizes("torchvision")]

# The classes of its transforms v2, composed as in its documentation, after the decoder that only reads JPEGs.
SCRIPT = """
import torch
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import InterpolationMode, v2

torch.set_num_threads(1)

def resizes(width, height):
    size = height, width
    return {
        "torchvision_nearest": v2.Resize(size, InterpolationMode.NEAREST),
        "torchvision_bilinear": v2.Resize(size),
        "torchvision_bicubic": v2.Resize(size, InterpolationMode.BICUBIC),
        "torchvision_bilinear_noaa": v2.Resize(size, antialias=False),
        "torchvision_bicubic_noaa": v2.Resize(size, InterpolationMode.BICUBIC, antialias=False),
    }

def show(token, key, image):
    report(token, key, image.shape[1], image.shape[2], image.permute(1, 2, 0).contiguous().numpy().tobytes())

for key, path in job["files"].items():
    image = decode_jpeg(read_file(path), mode=ImageReadMode.RGB)
    show("torchvision", key, image)
    for width, height in SIZES:
        for token, resize in resizes(width, height).items():
            show("%s %dx%d" % (token, width, height), key, resize(image))
"""


def test_every_method_equals_a_direct_call(photographs: dict[str, bytes], tmp_path: Path) -> None:
    files = put(photographs, tmp_path)
    direct = start("torchvision", VERSION, Job(files), f"SIZES = {SIZES}\n{SCRIPT}")
    assert digests("torchvision", RESIZES, files, SIZES) == finish(direct)


def test_every_method_equals_a_direct_call_on_shared_images(data: Path) -> None:
    files = photographs_of(data)
    direct = start("torchvision", VERSION, Job(files), f"SIZES = {SIZES[:1]}\n{SCRIPT}")
    assert digests("torchvision", RESIZES, files, SIZES[:1]) == finish(direct)


@pytest.fixture
def _available() -> None:
    release("torchvision", VERSION)


@pytest.mark.usefixtures("_available")
def test_decoding_and_antialiasing_are_close_to_pillow(photographs: dict[str, bytes]) -> None:
    """They differ by a step where its weights have fewer bits."""
    for key, encoded_image in photographs.items():
        image = call("pil", encoded_image)
        assert np.array_equal(call("torchvision", encoded_image), image), key
        for name in ("bilinear", "bicubic"):
            theirs, ours = (call(f"{library}_{name}", image, 224, 171) for library in ("pil", "torchvision"))
            difference = np.abs(theirs.astype(int) - ours)
            assert difference.max() <= 2
            assert difference.mean() < 0.02
            without = np.abs(theirs.astype(int) - call(f"torchvision_{name}_noaa", image, 224, 171))
            assert without.mean() > 5 * difference.mean(), key


@pytest.mark.usefixtures("_available")
def test_awkward_files_give_what_pillow_gives_or_a_reason(photographs: dict[str, bytes]) -> None:
    files = awkward(photographs["chelsea"])
    alive("torchvision", list(files.values()), photographs["chelsea"])
    for name in ("gray", "turned", "one pixel", "wide", "transparent", "a palette"):
        assert np.array_equal(outcome("torchvision", files[name]), outcome("pil", files[name])), name
    assert outcome("torchvision", files["truncated"]) == "Image is incomplete or truncated"
    assert "Unsupported image file" in str(outcome("torchvision", files["text"]))


@pytest.mark.usefixtures("_available")
def test_16_bits_are_scaled(photographs: dict[str, bytes]) -> None:
    image = call("pil", photographs["chelsea"])[..., 0]
    sixteen = Image.fromarray(image.astype(np.uint16) * 257)
    assert np.array_equal(call("torchvision", encoded(sixteen, "PNG")), np.repeat(image[..., None], 3, 2))


@pytest.mark.usefixtures("_available")
def test_every_odd_file_gives_pixels_or_a_reason(data: Path, photographs: dict[str, bytes]) -> None:
    odd = [path.read_bytes() for path in sorted((data / "odd").iterdir()) if path.suffix != ".tsv"]
    alive("torchvision", odd, photographs["chelsea"])
