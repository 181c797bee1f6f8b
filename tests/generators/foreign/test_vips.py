"""libvips: its methods equal direct calls of it, and any file gives pixels or a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.generators.foreign.direct import Digests, Job, finish, release, start
from tests.generators.foreign.suited import SIZES, digests, put, resizes, version
from tests.generators.foreign.test_programs import alive, awkward, call, digest, encoded, outcome
from tests.real import photographs_of

VERSION = version("libvips")
RESIZES = [method.token for method in resizes("libvips")]
SHRINKS = (1, 2, 4, 8)

# Decodes files and resizes the decoded images in memory, with scales computed as in its documentation.
SCRIPT = """
os.environ["VIPS_CONCURRENCY"] = "1"
import pyvips

def show(token, key, image):
    assert (image.bands, image.format) == (3, "uchar")
    report(token, key, image.height, image.width, image.write_to_memory())

for key, path in job["files"].items():
    image = pyvips.Image.new_from_file(path).colourspace("srgb").copy_memory()
    show("vips", key, image)
    for shrink in (1, 2, 4, 8):
        if shrink <= min(image.width, image.height):
            show("vips_shrink %d" % shrink, key, pyvips.Image.jpegload(path, shrink=shrink).colourspace("srgb"))
    for width, height in SIZES:
        across, down = width / image.width, height / image.height
        for kernel in ("nearest", "linear", "cubic", "mitchell", "lanczos3"):
            resized = image.resize(across, vscale=down, kernel=kernel)
            show("vips_%s %dx%d" % (kernel, width, height), key, resized)
"""


def shrunk(files: dict[str, Path]) -> Digests:
    """Digests of `vips_shrink`'s pixels, as long as any pixel is left."""
    found: Digests = {}
    for key, path in files.items():
        with Image.open(path) as image:
            least = min(image.size)
        for shrink in SHRINKS:
            if shrink <= least:
                found.setdefault(f"vips_shrink {shrink}", {})[key] = digest(
                    call("vips_shrink", path.read_bytes(), shrink)
                )
    return found


def test_every_method_equals_a_direct_call(photographs: dict[str, bytes], tmp_path: Path) -> None:
    files = put(photographs, tmp_path)
    direct = start("libvips", VERSION, Job(files), f"SIZES = {SIZES}\n{SCRIPT}")
    found = digests("vips", RESIZES, files, SIZES)
    assert {**found, **shrunk(files)} == finish(direct)


def test_every_method_equals_a_direct_call_on_shared_images(data: Path) -> None:
    files = photographs_of(data)
    direct = start("libvips", VERSION, Job(files), f"SIZES = {SIZES[:1]}\n{SCRIPT}")
    assert {**digests("vips", RESIZES, files, SIZES[:1]), **shrunk(files)} == finish(direct)


@pytest.fixture
def _available() -> None:
    release("libvips", VERSION)


@pytest.mark.usefixtures("_available")
def test_decoding_and_shrinking_equal_pillow_s_except_at_edges(photographs: dict[str, bytes]) -> None:
    """Sides are rounded down, where libjpeg rounds up."""
    for key, data in photographs.items():
        image = call("pil", data)
        assert np.array_equal(call("vips", data), image), key
        for shrink in SHRINKS:
            height, width = (side // shrink for side in image.shape[:2])
            ours = call("vips_shrink", data, shrink)
            assert ours.shape == (height, width, 3)
            assert np.array_equal(ours, call("pil_draft", data, shrink)[:height, :width]), key


@pytest.mark.usefixtures("_available")
def test_other_formats_are_not_shrunk(photographs: dict[str, bytes]) -> None:
    image = call("pil", photographs["chelsea"])
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        assert np.array_equal(call("vips_shrink", encoded(Image.fromarray(image), kind, **options), 4), image), kind


@pytest.mark.usefixtures("_available")
def test_a_uniform_image_stays_uniform(photographs: dict[str, bytes]) -> None:
    field = np.full((301, 200, 3), (7, 130, 255), np.uint8)
    for token in RESIZES:
        for width, height in SIZES:
            assert (call(token, field, width, height) == field[0, 0]).all(), token


@pytest.mark.usefixtures("_available")
def test_awkward_files_give_what_pillow_gives_or_a_reason(photographs: dict[str, bytes]) -> None:
    files = awkward(photographs["chelsea"])
    alive("vips", list(files.values()), photographs["chelsea"])
    for name in ("gray", "turned", "one pixel", "wide", "transparent", "a palette"):
        assert np.array_equal(outcome("vips", files[name]), outcome("pil", files[name])), name
    assert outcome("vips", files["text"]) == "VipsForeignLoad: buffer is not in a known format"
    truncated = outcome("vips", files["truncated"])
    assert np.array_equal(truncated[:100], call("vips", photographs["chelsea"])[:100])


@pytest.mark.usefixtures("_available")
def test_the_upper_8_of_16_bits_are_taken(photographs: dict[str, bytes]) -> None:
    image = call("pil", photographs["chelsea"])[..., 0]
    sixteen = Image.fromarray(image.astype(np.uint16) * 256 + 255)
    assert np.array_equal(call("vips", encoded(sixteen, "PNG")), np.repeat(image[..., None], 3, 2))


@pytest.mark.parametrize("token", ["vips", "vips_shrink"])
@pytest.mark.usefixtures("_available")
def test_every_odd_file_gives_pixels_or_a_reason(token: str, data: Path, photographs: dict[str, bytes]) -> None:
    odd = [path.read_bytes() for path in sorted((data / "odd").iterdir()) if path.suffix != ".tsv"]
    alive(token, odd, photographs["chelsea"])
