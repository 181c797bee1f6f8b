"""Every method makes the table's pixels, and if one does not, the message says what has changed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace

import pytest
from PIL import Image

from tests.pixels import FRAMES, Compared, Made, Table, anew, compare, load, make

CROP, FLAT = FRAMES


@pytest.fixture(scope="module")
def made() -> Made:
    return make()


@pytest.fixture(scope="module")
def table(made: Made) -> Table:
    return anew(made, None)


def changed(made: Made, *tokens: str, frame: str = CROP) -> Made:
    """As if methods had made other pixels."""
    return replace(made, pixels={**made.pixels, frame: {**made.pixels[frame], **dict.fromkeys(tokens, "other")}})


def moved(made: Made, library: str, **versions: str) -> Made:
    """As if a library had other versions."""
    return replace(made, versions={**made.versions, library: {**made.versions[library], **versions}})


def elsewhere(made: Made) -> Made:
    """As if on another kind of CPU."""
    return replace(made, cpu={"architecture": "x86_64", "features": ["sse2"]})


@pytest.mark.cpu
def test_the_pixels_are_those_of_the_table(made: Made) -> None:
    found = compare(load(), made)
    assert not found.changed, str(found)
    if found.unknown:
        pytest.skip(str(found))


def test_the_flat_frame_tells_the_order_of_pillow_s_passes(photographs: Mapping[str, bytes]) -> None:
    _, (columns, rows) = FRAMES[FLAT]
    differ = 0
    for data in photographs.values():
        with Image.open(io.BytesIO(data)) as file:
            image = file.convert("RGB")
        across = image.resize((columns, image.height), Image.Resampling.BICUBIC)
        down = image.resize((image.width, rows), Image.Resampling.BICUBIC)
        vertical_last = across.resize((columns, rows), Image.Resampling.BICUBIC).tobytes()
        vertical_first = down.resize((columns, rows), Image.Resampling.BICUBIC).tobytes()
        # Pillow 13's condition in ImagingResampleInner, Resample.c
        differ += vertical_first != vertical_last and image.height - rows > 2 * (image.width - columns)
    assert differ


def test_nothing_is_reported_if_nothing_has_changed(made: Made, table: Table) -> None:
    assert compare(table, made) == compare(table, elsewhere(made)) == Compared([], [])


def test_a_changed_library_is_named_with_its_effect(made: Made, table: Table) -> None:
    found = compare(table, changed(changed(moved(made, "OpenCV", OpenCV="9.0"), "opencv_area"), "ffmpeg", frame=FLAT))
    was = made.versions["OpenCV"]["OpenCV"]
    assert found.changed == [
        f"OpenCV has moved (OpenCV {was} → 9.0): opencv_area in {CROP} changed.",
        f"FFmpeg has not moved, but ffmpeg in {FLAT} changed: it is another build, or the change is our own.",
    ]
    assert "--write" in str(found)
    (same,) = compare(table, moved(made, "FFmpeg", PyAV="99.1")).changed
    assert "99.1): no pixel changed" in same
    (built,) = compare(table, changed(moved(made, "DALI", **{"DALI/nvImageCodec": "7"}), "dali_cubic")).changed
    assert "DALI has not moved" in built
    assert "→ 7" in built


def test_only_the_library_of_the_reference_is_blamed_if_that_changed(made: Made, table: Table) -> None:
    (line,) = compare(table, changed(moved(made, "Pillow", Pillow="99"), *made.pixels[CROP])).changed
    assert line.startswith("Pillow has moved")
    assert "opencv_area" in line


def test_changed_photographs_are_all_that_is_reported(made: Made, table: Table) -> None:
    other = replace(changed(moved(made, "Pillow", Pillow="99"), "pil"), sources="other")
    (line,) = compare(table, other).changed
    assert "photographs' files differ" in line
    assert "→ 99" in line


def test_a_method_missing_from_the_table_is_named(made: Made, table: Table) -> None:
    less = {
        frame: {t: digest for t, digest in digests.items() if t != "dali"} for frame, digests in made.pixels.items()
    }
    for then, now in ((table, replace(made, pixels=less)), (replace(table, pixels=less), made)):
        assert compare(then, now).changed == ["dali: only in the table, or missing from it."]


def test_an_unknown_kind_of_cpu_may_differ_until_it_is_added(made: Made, table: Table) -> None:
    other = changed(elsewhere(made), "opencv_area")
    found = compare(table, other)
    assert not found.changed
    assert found.unknown == [f"OpenCV has not moved, but opencv_area in {CROP} differ."]
    both = anew(other, table)
    assert compare(both, other) == compare(both, made) == Compared([], [])
    assert compare(both, elsewhere(made)).changed
    assert compare(both, changed(made, "opencv_area")).changed


def test_a_table_of_other_versions_drops_known_cpus(made: Made, table: Table) -> None:
    newer = moved(elsewhere(made), "OpenCV", OpenCV="9.0")
    assert anew(newer, table).cpus == [{"cpu": newer.cpu, "pixels": {}}]
