"""scikit-image: its methods equal direct calls of it, and its documentation is right about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.generators.foreign.direct import Job, finish, release, start
from tests.generators.foreign.suited import digests, put, resizes, version
from tests.generators.foreign.test_programs import call
from tests.real import photographs_of

Values = NDArray[np.float64]

VERSION = version("scikit-image")
RESIZES = [method.token for method in resizes("scikit-image")]

# The usual sizes without 1x1, for which the Gaussian takes seconds.
SIZES = ((256, 256), (301, 17), (20, 15), (500, 700))

# With antialiasing by default if a side shrinks.
SCRIPT = """
import numpy as np
from PIL import Image
from skimage.transform import resize
from skimage.util import img_as_ubyte

def show(token, key, image):
    report(token, key, image.shape[0], image.shape[1], image.tobytes())

for key, path in job["files"].items():
    image = np.array(Image.open(path).convert("RGB"))
    show("pil", key, image)
    for width, height in SIZES:
        size = "%dx%d" % (width, height)
        show("skimage_bilinear " + size, key, img_as_ubyte(resize(image, (height, width), anti_aliasing=False)))
        show("skimage_bilinear_aa " + size, key, img_as_ubyte(resize(image, (height, width))))
"""


def test_every_method_equals_a_direct_call(photographs: dict[str, bytes], tmp_path: Path) -> None:
    files = put(photographs, tmp_path)
    direct = start("scikit-image", VERSION, Job(files), f"SIZES = {SIZES}\n{SCRIPT}")
    assert digests("pil", RESIZES, files, SIZES) == finish(direct)


def test_every_method_equals_a_direct_call_on_shared_images(data: Path) -> None:
    files = photographs_of(data)
    direct = start("scikit-image", VERSION, Job(files), f"SIZES = {SIZES[:1]}\n{SCRIPT}")
    assert digests("pil", RESIZES, files, SIZES[:1]) == finish(direct)


@pytest.fixture
def _available() -> None:
    release("scikit-image", VERSION)


@pytest.mark.usefixtures("_available")
def test_without_antialiasing_it_equals_opencv_s_linear_to_within_a_step(photographs: dict[str, bytes]) -> None:
    for key, data in photographs.items():
        image = call("pil", data)
        ours, theirs = (call(f"{library}_bilinear", image, 224, 171) for library in ("skimage", "opencv"))
        assert np.abs(ours.astype(int) - theirs).max() <= 1, key


@pytest.mark.usefixtures("_available")
def test_antialiasing_is_a_gaussian_before_that(photographs: dict[str, bytes]) -> None:
    image = call("pil", photographs["chelsea"])
    for width, height in ((100, 90), (224, 600)):
        expected = shortened(shortened(image.astype(float), height).swapaxes(0, 1), width).swapaxes(0, 1)
        assert np.abs(expected - call("skimage_bilinear_aa", image, width, height)).max() < 0.51


def shortened(image: Values, size: int) -> Values:
    """Rows interpolated from rows smoothed by a Gaussian. Its standard deviation is half of the scale minus 1, and it
    is cut off at four of these; the picture is mirrored beyond its outermost rows.
    """
    scale = len(image) / size
    sigma = max((scale - 1) / 2, 1e-9)
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    beyond = np.pad(image, ((reach, reach), (0, 0), (0, 0)), "reflect")
    smooth = sum(weight * beyond[first : first + len(image)] for first, weight in enumerate(weights / weights.sum()))
    places = np.abs((np.arange(size) + 0.5) * scale - 0.5)
    places = np.minimum(places, 2 * (len(image) - 1) - places)
    above = np.minimum(places.astype(int), len(image) - 2)
    share = (places - above)[:, None, None]
    made: Values = smooth[above] * (1 - share) + smooth[above + 1] * share
    return made
