"""How an answer describes a device in terms of libraries, for people who do not know the tokens."""

from __future__ import annotations

from generators.registry import METHODS, PIXEL_STAGES, Release
from generators.variant import LIBRARY_GROUPS, parse, reference
from pipelines.evaluate.match.words import like, more_of, some_of

BASE = reference()


def described(*names: str) -> str:
    return like([parse(name, BASE).spelled_out for name in names], BASE.spelled_out)


def test_a_device_is_described_by_libraries() -> None:
    assert described("torchvision_bilinear_noaa") == "resizes like torchvision (bilinear, not antialiased)"
    assert described("tf+opencv_area+nv12_ascend") == (
        "decodes like TensorFlow (fast inverse DCT, its default) and resizes like OpenCV (mean of the area) "
        "and converts colour like NumPy (NV12 by Ascend's integers)"
    )
    assert described("sharp_lanczos3") == "resizes like sharp (lanczos3, antialiased, shrunk while it decodes)"
    assert described("ffmpeg", "ffmpeg-16.1.0") == "decodes like FFmpeg or FFmpeg 16.1.0"
    assert described("reference") == ""


def test_no_two_methods_of_a_library_have_the_same_description() -> None:
    pixels = [method for method in METHODS.values() if method.stage in PIXEL_STAGES and not method.gpu]
    descriptions = [(method.stage, method.library.name, method.how) for method in pixels]
    assert len(set(descriptions)) == len(descriptions)


def test_installed_methods_are_suggested_before_libraries_to_install() -> None:
    here = {m.token for m in METHODS.values() if m.stage == "resize" and not isinstance(m.library, Release)}
    some = [{"resize": token} for token in here - {"opencv_area"}]
    assert more_of("resize", some) == ["resize"]
    of_images = [group for group in LIBRARY_GROUPS if group != "librosa"]
    assert more_of("resize", [*some, {"resize": "opencv_area"}]) == of_images
    everything = [{"resize": token} for token in METHODS]
    assert more_of("resize", everything) == []
    assert more_of(None, some) == ["all"]


def test_a_cell_has_few_names_and_the_number_of_others() -> None:
    assert some_of(["a"]) == "a"
    assert some_of(["a", "b", "c"]) == "a = b = c"
    assert some_of(["a", "b", "c", "d", "e"]) == "a = b = c = 2 more"
