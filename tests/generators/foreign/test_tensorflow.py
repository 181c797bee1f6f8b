"""TensorFlow: its methods equal direct calls of it, and any file gives pixels or a reason."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.generators.foreign.direct import Digests, Job, finish, release, start
from tests.generators.foreign.suited import SIZES, digests, put, resizes, version
from tests.generators.foreign.test_programs import Pixels, alive, awkward, call, digest, encoded, outcome
from tests.real import photographs_of

Values = NDArray[np.float64]

VERSION = version("TensorFlow")
RESIZES = [method.token for method in resizes("TensorFlow")]

# As in its documentation, with tensors throughout. TensorFlow 1's resize is the function that its users called.
SCRIPT = """
import tensorflow as tf

METHOD = tf.image.ResizeMethod
METHODS = {
    "nearest": METHOD.NEAREST_NEIGHBOR,
    "bilinear": METHOD.BILINEAR,
    "bicubic": METHOD.BICUBIC,
    "lanczos3": METHOD.LANCZOS3,
    "area": METHOD.AREA,
}

def resizes(image, size):
    for name, method in METHODS.items():
        yield "tf_" + name, tf.image.resize(image, size, method)
    for name in ("bilinear", "bicubic", "lanczos3"):
        yield "tf_" + name + "_aa", tf.image.resize(image, size, METHODS[name], antialias=True)
    yield "tf1_bilinear", tf.compat.v1.image.resize_images(image, size)

def show(token, key, image):
    image = tf.reshape(image, tf.shape(image)[-3:])  # a WebP is a batch of frames
    if image.dtype != tf.uint8:
        image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
    report(token, key, image.shape[0], image.shape[1], image.numpy().tobytes())

for key, path in job["files"].items():
    data = tf.io.read_file(path)
    try:
        show("tf", key, tf.io.decode_jpeg(data, channels=3))
    except tf.errors.InvalidArgumentError:
        continue
    image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    show("tf_accurate", key, image)
    for width, height in SIZES:
        for token, resized in resizes(image, (height, width)):
            show("%s %dx%d" % (token, width, height), key, resized)
"""


def test_every_method_equals_a_direct_call(photographs: dict[str, bytes], tmp_path: Path) -> None:
    files = put(photographs, tmp_path)
    direct = start("TensorFlow", VERSION, Job(files), f"SIZES = {SIZES}\n{SCRIPT}")
    assert fast(files) | digests("tf_accurate", RESIZES, files, SIZES) == finish(direct)


def test_every_method_equals_a_direct_call_on_shared_images(data: Path) -> None:
    files = photographs_of(data)
    direct = start("TensorFlow", VERSION, Job(files), f"SIZES = {SIZES[:1]}\n{SCRIPT}")
    assert fast(files) | digests("tf_accurate", RESIZES, files, SIZES[:1]) == finish(direct)


def fast(files: Mapping[str, Path]) -> Digests:
    """Digests of `tf`'s pixels in the form of a direct call."""
    return {"tf": {key: digest(call("tf", path.read_bytes())) for key, path in files.items()}}


@pytest.fixture
def _available() -> None:
    release("TensorFlow", VERSION)


@pytest.fixture
def images(photographs: dict[str, bytes]) -> list[Pixels]:
    return [call("pil", data) for data in photographs.values()]


@pytest.mark.usefixtures("_available")
def test_the_accurate_decoder_equals_pillow_s_and_the_default_does_not(photographs: dict[str, bytes]) -> None:
    for key, data in photographs.items():
        image = call("pil", data)
        assert np.array_equal(call("tf_accurate", data), image), key
        assert 0.3 < apart(call("tf", data), image).mean() < 3, key


@pytest.mark.usefixtures("_available")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("tf_bilinear", "opencv_bilinear"), ("tf_area", "opencv_area"), ("tf_bilinear_aa", "pil_bilinear")],
)
def test_another_library_with_the_same_filter_is_a_step_away(ours: str, theirs: str, images: list[Pixels]) -> None:
    for image in images:
        assert apart(call(ours, image, 224, 171), call(theirs, image, 224, 171)).max() <= 1


@pytest.mark.usefixtures("_available")
def test_the_first_resize_takes_pixels_from_their_place_times_the_scale(images: list[Pixels]) -> None:
    for image in images:
        expected = shortened(shortened(image.astype(float), 171).swapaxes(0, 1), 224).swapaxes(0, 1)
        assert np.abs(call("tf1_bilinear", image, 224, 171) - expected).max() < 0.51


def shortened(image: Values, size: int) -> Values:
    """Rows interpolated between the two nearest to a row's index times the scale."""
    places = np.arange(size) * (len(image) / size)
    above = places.astype(int)
    share = (places - above)[:, None, None]
    made: Values = image[above] * (1 - share) + image[above + 1] * share
    return made


def apart(one: Pixels, other: Pixels) -> Values:
    difference: Values = np.abs(one.astype(float) - other)
    return difference


@pytest.mark.usefixtures("_available")
def test_awkward_files_give_what_pillow_gives_or_a_reason(photographs: dict[str, bytes]) -> None:
    files = awkward(photographs["chelsea"])
    for token in ("tf", "tf_accurate"):
        alive(token, list(files.values()), photographs["chelsea"])
    for name in ("gray", "turned", "one pixel", "wide", "transparent", "a palette"):
        assert np.array_equal(outcome("tf_accurate", files[name]), outcome("pil", files[name])), name
    assert apart(call("tf_accurate", files["CMYK"]), call("pil", files["CMYK"])).max() <= 1
    for name in ("truncated", "headless"):
        assert outcome("tf", files[name]) == "jpeg::Uncompress failed. Invalid JPEG data or crop window.", name
    assert str(outcome("tf", files["text"])).startswith("Unknown image file format.")


@pytest.mark.usefixtures("_available")
def test_a_jpeg_that_lacks_only_its_last_marker_is_refused(photographs: dict[str, bytes]) -> None:
    data = photographs["chelsea"]
    assert data.endswith(b"\xff\xd9")
    assert isinstance(outcome("tf", data[:-2]), str)


@pytest.mark.usefixtures("_available")
def test_pngs_of_16_bits_lose_the_lower_8(photographs: dict[str, bytes]) -> None:
    upper = call("pil", photographs["chelsea"])[..., 0]
    sixteen = Image.fromarray(upper.astype(np.uint16) * 256 + upper[::-1])
    assert np.array_equal(call("tf", encoded(sixteen, "PNG")), np.repeat(upper[..., None], 3, 2))


@pytest.mark.usefixtures("_available")
def test_only_single_frames_are_decoded(photographs: dict[str, bytes]) -> None:
    picture = Image.open(io.BytesIO(photographs["chelsea"]))
    frames = [picture, picture.rotate(180)]
    for kind in ("GIF", "WEBP"):
        one = encoded(frames[0], kind, lossless=True)
        assert np.array_equal(call("tf", one), call("pil", one)), kind
        assert isinstance(outcome("tf", encoded(frames[0], kind, save_all=True, append_images=frames[1:])), str), kind


@pytest.mark.usefixtures("_available")
def test_every_odd_file_gives_what_a_direct_call_gives_or_a_reason(data: Path, photographs: dict[str, bytes]) -> None:
    odd = {path.name: path for path in sorted((data / "odd").iterdir()) if path.suffix != ".tsv"}
    direct = start("TensorFlow", VERSION, Job(odd), f"SIZES = []\n{SCRIPT}")
    files = {key: path.read_bytes() for key, path in odd.items()}
    found: Digests = {"tf": {}, "tf_accurate": {}}
    for token, pixels in found.items():
        alive(token, list(files.values()), photographs["chelsea"])
        outcomes = {key: outcome(token, data) for key, data in files.items()}
        pixels.update({key: digest(image) for key, image in outcomes.items() if not isinstance(image, str)})
    assert found == finish(direct)
