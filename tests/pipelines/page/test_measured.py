"""What is measured for a page, against plain NumPy on the same tars and against the manifests."""

from __future__ import annotations

import io
import itertools
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import RunError
from pipelines.page import chosen
from pipelines.page.apart import measure
from pipelines.page.figures import figures
from pipelines.page.opened import OpenedSet, opened
from pipelines.page.order import by_similarity
from pipelines.shards import Shards, open_shards
from pipelines.store import Remote
from tests.pipelines.page.conftest import COUNT, TRUNCATED, VARIANTS


@pytest.fixture(scope="module")
def of(paged: Path) -> OpenedSet:
    return opened(open_shards(paged))


def images(folder: Path) -> dict[str, NDArray[np.int64]]:
    """All images of a variant, as tarfile and Pillow read them."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".png"):
                    file = tar.extractfile(member)
                    assert file
                    found[member.name[:-4]] = np.asarray(Image.open(io.BytesIO(file.read()))).astype(np.int64)
    return found


def test_distances_are_the_mean_absolute_differences(of: OpenedSet, paged: Path) -> None:
    keys = figures(of).keys
    found = measure(of, keys, (), lambda *_: None).distances
    several = [images(paged / group.name) for group in of.groups]
    for row, one in enumerate(several):
        for column, other in enumerate(several):
            expected = np.mean([np.abs(one[key] - other[key]).mean() for key in keys])
            assert found[row, column] == pytest.approx(expected, rel=1e-12)


def test_the_reference_s_distances_are_the_manifests_residuals(of: OpenedSet, paged: Path) -> None:
    keys = figures(of).keys
    found = measure(of, keys, (), lambda *_: None).distances[0]
    for group, distance in zip(of.groups, found, strict=True):
        rows = pq.read_table(paged / group.name / "manifest.parquet").to_pylist()
        assert distance == pytest.approx(np.mean([row["residual_mean_abs"] for row in rows if row["key"] in keys]))


def test_maps_are_means_over_images_and_channels(of: OpenedSet, paged: Path) -> None:
    keys = figures(of).keys
    maps = measure(of, keys, (), lambda *_: None).maps
    reference = images(paged / "pil_bilinear")
    assert maps[0] is None
    for group, found in zip(of.groups[1:], maps[1:], strict=True):
        own = images(paged / group.name)
        assert found == pytest.approx(
            np.mean([np.abs(own[key] - reference[key]) for key in keys], axis=(0, 3)), abs=1e-4
        )


def test_variants_with_the_same_pixels_are_one_group(of: OpenedSet) -> None:
    assert [group.names for group in of.groups if len(group.names) > 1] == [("pil_bilinear", "opencv")]
    assert {name for group in of.groups for name in group.names} == {*VARIANTS[:-1], "pil_nearest+nv12_ascend"}
    assert of.reference is of.groups[0]


def test_failures_are_listed_and_left_out(of: OpenedSet) -> None:
    found = figures(of)
    assert len(found.keys) == COUNT - 1
    assert TRUNCATED not in found.keys
    assert {failure.example for failure in found.failures} == {TRUNCATED}
    assert "ffmpeg" not in {name for failure in found.failures for name in failure.variants}


def test_distributions_hold_every_sample_once(of: OpenedSet, paged: Path) -> None:
    for name, found in figures(of).distributions.items():
        column = pq.read_table(paged / name / "manifest.parquet")["residual_mean_abs"].drop_null().to_pylist()
        assert found.compared == len(column) == found.same + found.bins.sum()
        assert found.same == column.count(0.0)
        assert found.quantiles == pytest.approx(np.quantile(column, (0.05, 0.5, 0.95)))


def test_the_most_differing_sample_is_shown_and_the_turned_one_is_it(of: OpenedSet) -> None:
    found = figures(of)
    assert found.most[0].key == "photograph_04"
    assert found.most[0].variant == "opencv_exif"
    shown = chosen.shown(of, found.keys[:8], found)
    assert shown[-1] == "photograph_04"
    assert len(set(shown)) == len(shown) == 8


def test_on_a_disk_a_few_shards_are_read_from_end_to_end(of: OpenedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    found = figures(of)
    assert chosen.measured(of, found) == found.keys
    monkeypatch.setattr(chosen, "_SHARDS_ON_DISK", 2)
    keys = chosen.measured(of, found)
    assert {int(found.shards[found.keys.index(key)]) for key in keys} == {0, 2}
    assert (keys[0], keys[-1]) == (found.keys[0], found.keys[-1])


def test_in_a_store_a_few_shards_are_read_from_their_beginnings(of: OpenedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    found = figures(of)
    monkeypatch.setattr(chosen, "FEWEST", 6)
    monkeypatch.setattr(chosen, "_BYTES_IN_STORE", 1)
    monkeypatch.setattr(chosen, "_SHARDS_IN_STORE", 2)
    stored = replace(of, shards=replace(of.shards, root=Remote("bucket", "imagenet")))
    keys = chosen.measured(stored, found)
    places = [found.keys.index(key) for key in keys]
    assert places == [0, 1, 2, *(np.flatnonzero(found.shards == 2)[:3])]
    assert set(chosen.shown(stored, keys, found)) == set(keys)
    nothing = replace(found, keys=[], shards=found.shards[:0], mean=found.mean[:0])
    assert chosen.measured(stored, nothing) == []


def test_a_tar_without_its_samples_is_refused(paged: Path, tmp_path: Path) -> None:
    copy = tmp_path / "imagenet"
    shutil.copytree(paged, copy)
    tar = copy / "ffmpeg" / "validation-00001-of-00003.tar"
    data = bytearray(tar.read_bytes())
    data[0:12] = b"photograph_X"
    tar.write_bytes(data)
    broken = opened(open_shards(copy))
    with pytest.raises(RunError, match="ffmpeg"):
        measure(broken, figures(broken).keys, (), lambda *_: None)


def test_an_empty_result_is_refused_in_any_variant(of: OpenedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    results = itertools.cycle([np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4, 3), np.uint8)])
    monkeypatch.setattr(Shards, "pixels", lambda *_: next(results))
    with pytest.raises(RunError, match="or empty"):
        measure(of, figures(of).keys[:2], (), lambda *_: None)


@given(st.permutations(range(9)), st.floats(0.01, 10))
def test_those_that_are_alike_stand_together(shuffled: list[int], scale: float) -> None:
    family = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    near = np.array([[1.0 + abs(a - b) / 20 for a in range(9)] for b in range(9)])
    distances = scale * np.where(family[:, None] == family[None], near, 30 + near)
    np.fill_diagonal(distances, 0)
    mixed = distances[np.ix_(shuffled, shuffled)]
    order = by_similarity(mixed)
    assert sorted(order) == list(range(9))
    families = [int(family[shuffled[place]]) for place in order]
    assert sum(a != b for a, b in itertools.pairwise(families)) == 2


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_any_matrix_has_an_order(value: float) -> None:
    distances: NDArray[Any] = np.full((5, 5), value)
    np.fill_diagonal(distances, 0)
    assert sorted(by_similarity(distances)) == list(range(5))
