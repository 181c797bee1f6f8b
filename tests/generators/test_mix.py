from __future__ import annotations

import io
import itertools
import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import chi2_contingency, chisquare

from generators.mix import Box, Drawn, Mix
from generators.registry import METHODS, Release
from generators.variant import VariantError
from tests import ROOT
from tests.generators.foreign.direct import release
from tests.methods import ON_CPU
from tests.real import photographs_of

Pixels = NDArray[np.uint8]
DECODE = ("pil", "opencv", "ffmpeg", "dali", "dali_fast", "pil_srgb")
RESIZE = tuple(token for token, method in ON_CPU.items() if method.stage == "resize")
SIZE = (96, 64)


def directly(data: bytes, drawn: Drawn, box: Box | None) -> Pixels:
    """The pixels of the methods themselves, from a copy of the box."""
    image = METHODS[drawn.decode].load()(data)
    if box:
        image = image[box.top : box.top + box.height, box.left : box.left + box.width].copy()
    return METHODS[drawn.resize].load()(image, *SIZE)


def a_box(data: bytes, number: int) -> Box | None:
    """No box every third time, otherwise a different one each time."""
    if number % 3 == 0:
        return None
    width, height = Image.open(io.BytesIO(data)).size
    top, left = number % max(1, height // 2), number % max(1, width // 3)
    return Box(top, left, max(1, (height - top) * 2 // 3), max(1, (width - left) // 2))


@pytest.mark.parametrize("epoch", range(2))
def test_pixels_equal_the_methods(photographs: dict[str, bytes], epoch: int) -> None:
    mix = Mix(DECODE, RESIZE, seed=3)
    for number, (key, data) in enumerate(photographs.items(), epoch):
        box = a_box(data, number)
        made = mix(data, SIZE, key=key, epoch=epoch, box=box)
        np.testing.assert_array_equal(made, directly(data, mix.draw(key, epoch), box))
        assert made.flags.writeable
        assert made.flags.c_contiguous


def test_every_resize_method_takes_a_box(photographs: dict[str, bytes]) -> None:
    data, box = photographs["coffee"], Box(31, 17, 301, 402)
    for decode, resize in itertools.product(("pil", "opencv"), RESIZE):
        made = Mix(decode, resize)(data, SIZE, key="coffee", box=box)
        np.testing.assert_array_equal(made, directly(data, Drawn(decode, resize), box), f"{decode}+{resize}")


def test_a_box_is_cropped_first_as_by_the_libraries(photographs: dict[str, bytes]) -> None:
    data = photographs["chelsea"]
    top, left, height, width = box = Box(20, 40, 200, 250)
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    corners = (left, top, left + width, top + height)
    cropped = np.asarray(picture.crop(corners).resize(SIZE, Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(Mix("pil", "pil_bicubic")(data, SIZE, key="", box=box), cropped)
    assert (cropped != np.asarray(picture.resize(SIZE, Image.Resampling.BICUBIC, box=corners))).any()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert pixels is not None
    resized = cv2.resize(pixels[top : top + height, left : left + width], SIZE, interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(Mix("opencv", "opencv_area")(data, SIZE, key="", box=box), resized)


def test_pixels_equal_the_methods_on_shared_images(data: Path) -> None:
    files = [*photographs_of(data).values(), *sorted(data.glob("coco/val2017/*.jpg"))]
    mix = Mix(DECODE, RESIZE, seed=5)
    failed = 0
    for number, path in enumerate(files):
        encoded = path.read_bytes()
        box = a_box(encoded, number)
        try:
            expected = directly(encoded, mix.draw(path.stem), box)
        except Exception:  # every library has exceptions of its own
            failed += 1
            with pytest.raises(ValueError, match=path.stem):
                mix(encoded, SIZE, key=path.stem, box=box)
            continue
        np.testing.assert_array_equal(mix(encoded, SIZE, key=path.stem, box=box), expected)
    assert len(files) > 100
    assert failed < len(files) / 20


def test_an_epoch_is_repeatable_and_differs_from_the_next(photographs: dict[str, bytes]) -> None:
    def pixels(mix: Mix, epoch: int) -> list[bytes]:
        return [mix(data, 32, key=key, epoch=epoch).tobytes() for key, data in photographs.items()]

    mix = Mix(("pil", "ffmpeg"), ("pil_bilinear", "opencv_nearest"))
    assert pixels(mix, 1) == pixels(Mix(("pil", "ffmpeg"), ("pil_bilinear", "opencv_nearest")), 1)
    assert pixels(mix, 1) != pixels(mix, 2)
    assert pixels(mix, 1) != pixels(Mix(mix.decode, mix.resize, seed=1), 1)


@settings(max_examples=25)
@given(st.text(), st.integers(), st.integers())
def test_draws_depend_only_on_seed_epoch_and_key(key: str, epoch: int, seed: int) -> None:
    mix, again = Mix(DECODE, RESIZE, seed), Mix(DECODE, RESIZE, seed)
    again.draw("another", 7)
    assert mix.draw(key, epoch) == again.draw(key, epoch)
    assert mix.draw(key, epoch).decode in DECODE
    assert mix.draw(key, epoch).resize in RESIZE


def test_draws_are_the_same_on_every_machine() -> None:
    mix = Mix(("pil", "opencv", "ffmpeg"), ("pil_bilinear", "opencv_area"), seed=1)
    drawn = [mix.draw(key, epoch) for key in ("n01440764_18", "ä", "") for epoch in (0, 1, -1)]
    # By `printf '1/0/n01440764_18' | sha256sum`, and its like: each half modulo 3 and 2.
    assert drawn == [
        *(("opencv", "opencv_area"), ("opencv", "opencv_area"), ("pil", "pil_bilinear")),
        *(("pil", "opencv_area"), ("opencv", "pil_bilinear"), ("pil", "opencv_area")),
        *(("ffmpeg", "pil_bilinear"), ("opencv", "opencv_area"), ("ffmpeg", "opencv_area")),
    ]


@pytest.mark.parametrize("epochs", [1, 2])
def test_shares_are_equal_and_stages_independent(epochs: int) -> None:
    """Chi-squared over 10,000 draws, of keys or epochs: methods are equally frequent, and the stages independent."""
    decode, resize = ("pil", "opencv", "ffmpeg"), RESIZE[:11]
    mix = Mix(decode, resize, seed=11)
    if epochs == 1:
        drawn = [mix.draw(f"ILSVRC2012_val_{number:08d}") for number in range(10_000)]
    else:
        drawn = [mix.draw("ILSVRC2012_val_00000001", epoch) for epoch in range(10_000)]
    counts = Counter(drawn)
    both = np.array([[counts[Drawn(first, second)] for second in resize] for first in decode])
    assert chisquare(both.sum(0)).pvalue > 0.001
    assert chisquare(both.sum(1)).pvalue > 0.001
    assert chi2_contingency(both).pvalue > 0.001


def test_neighbouring_epochs_and_seeds_are_unrelated() -> None:
    one, other = (Mix(("pil", "ffmpeg"), RESIZE[:4], seed) for seed in (0, 1))
    keys = [f"{number}" for number in range(4000)]
    first = [one.draw(key).resize for key in keys]
    for second in ([one.draw(key, 1).resize for key in keys], [other.draw(key).resize for key in keys]):
        pairs = Counter(zip(first, second, strict=True))
        assert chisquare([pairs[a, b] for a in RESIZE[:4] for b in RESIZE[:4]]).pvalue > 0.001


# As loaders do it: a process that has drawn from every library starts workers, which are forked or anew.
WORKERS = """
import hashlib, multiprocessing, sys
from generators.mix import Box, Mix

def made(mix, data, epoch):
    return hashlib.sha256(mix(data, 64, key="image", epoch=epoch, box=Box(5, 6, 70, 80))).hexdigest()

if __name__ == "__main__":
    data = sys.stdin.buffer.read()
    mix = Mix(("pil", "opencv", "ffmpeg", "dali"), ("pil_box", "opencv_area", "ffmpeg_area", "dali_triangular"))
    jobs = [(mix, data, epoch) for epoch in range(120)]
    assert len({mix.draw("image", epoch) for *_, epoch in jobs}) == 16
    here = [made(*job) for job in jobs]
    for kind in ("fork", "spawn"):
        with multiprocessing.get_context(kind).Pool(1) as pool:
            assert pool.starmap_async(made, jobs).get(120) == here, kind
    print(len(set(here)))
"""


def test_workers_make_the_same_pixels(photographs: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text(WORKERS)
    words = [sys.executable, str(tmp_path / "workers.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, input=photographs["coffee"], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 4


@pytest.mark.parametrize("resize", ["pil_box", "opencv_area", "ffmpeg_area", "dali_linear"])
def test_numpy_integers_are_accepted(photographs: dict[str, bytes], resize: str) -> None:
    mix, data = Mix("pil", resize), photographs["coffee"]
    top, left, height, width, side = np.array([5, 6, 70, 80, 32])
    expected = mix(data, 32, key="key", box=Box(5, 6, 70, 80))
    sizes: list[Any] = [side, (side, side), np.array([32, 32])]
    for size in sizes:
        np.testing.assert_array_equal(mix(data, size, key="key", box=Box(top, left, height, width)), expected)


def test_it_can_be_pickled(photographs: dict[str, bytes]) -> None:
    mix = Mix(DECODE, RESIZE, seed=2)
    mix(photographs["coffee"], 32, key="coffee")
    again = pickle.loads(pickle.dumps(mix))
    assert repr(again) == repr(mix)
    assert again.draw("coffee", 5) == mix.draw("coffee", 5)


def test_a_library_in_its_own_environment(photographs: dict[str, bytes]) -> None:
    library = METHODS["vips"].library
    assert isinstance(library, Release)
    release(library.name, library.version)
    data, box = photographs["coffee"], Box(31, 17, 301, 402)
    for mix in (Mix("vips", "vips_linear"), Mix("pil", "libvips")):
        drawn = mix.draw("coffee")
        np.testing.assert_array_equal(mix(data, SIZE, key="coffee", box=box), directly(data, drawn, box))
    assert mix.resize == tuple(f"vips_{name}" for name in ("nearest", "linear", "cubic", "mitchell", "lanczos3"))


def test_words_are_those_of_variant() -> None:
    paper = [token for token, method in METHODS.items() if method.paper and method.stage in ("decode", "resize")]
    mix = Mix("paper", "paper")
    assert [*mix.decode, *mix.resize] == paper
    assert Mix(" pil, opencv", ["pil_box", "pil_box,opencv_area"]).resize == ("pil_box", "opencv_area")
    assert (Mix().decode, Mix().resize) == (("pil",), ("pil_bilinear",))
    assert set(RESIZE) <= set(Mix(resize="resize").resize)
    assert not {"dali_gpu_linear", "sharp_lanczos3"} & set(Mix(resize="resize").resize)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"decode": "pillow"}, "unknown method 'pillow'"),
        ({"decode": "pil_box"}, "pil_box is a method of the stage resize, not of decode"),
        ({"resize": ("pil_box", "fp16")}, "fp16 is a method of the stage precision"),
        ({"resize": "pil+pil_box"}, "joins methods of several stages"),
        ({"resize": "decode"}, "decode has no method of the stage resize"),
        ({"resize": "reference"}, "reference has no method of the stage resize"),
        ({"decode": ()}, "nothing to draw from"),
        ({"decode": "dali_gpu"}, "needs a GPU: use dali"),
        ({"decode": "pil_draft"}, "shrinks the image"),
        ({"decode": "opencv_exif-4.12.0.88"}, "rotates the image"),
        ({"resize": "sharp_lanczos3"}, "decodes and resizes in one step"),
    ],
)
def test_methods_that_cannot_be_mixed_are_refused(words: dict[str, Any], reason: str) -> None:
    with pytest.raises(VariantError, match=re.escape(reason)) as refused:
        Mix(**words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("decode", ["pil", "opencv", "ffmpeg", "dali"])
@pytest.mark.parametrize("resize", ["pil_box", "opencv_area"])
def test_errors_are_one_line_that_names_the_image(photographs: dict[str, bytes], decode: str, resize: str) -> None:
    mix, data = Mix(decode, resize), photographs["coffee"]
    for encoded in (b"", b"no image", data[:200]):
        with pytest.raises(ValueError, match=r"\Akey: .+\Z"):
            mix(encoded, 32, key="key")
    for box in (Box(0, 0, 401, 10), Box(0, 591, 10, 10), Box(-1, 0, 10, 10), Box(0, -1, 10, 10), Box(5, 5, 0, 10)):
        with pytest.raises(ValueError, match=rf"\Akey: {re.escape(str(box))} does not fit into an image of 600x400\Z"):
            mix(data, 32, key="key", box=box)
    with pytest.raises(TypeError, match="float"):
        mix(data, 32, key="key", box=Box(0, 0, 10.5, 10))  # type: ignore[arg-type]  # what a user may write
    with pytest.raises(TypeError, match="write Box"):
        mix(data, 32, key="key", box=(0, 0, 10, 10))  # type: ignore[arg-type]  # the same
    with pytest.raises(ValueError, match="0x32"):
        mix(data, (0, 32), key="key")
    with pytest.raises(TypeError, match="float"):
        mix(data, 32.0, key="key")  # type: ignore[arg-type]  # the same
