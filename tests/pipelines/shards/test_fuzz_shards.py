"""Untrusted shards: their images are read, or refused in one line."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from manifests.images import LABEL_MAP
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.match.measure import groups_of
from pipelines.shards import Shards, Stored, open_shards
from tests.fuzzing import changed_bytes, changed_tar, described, files, fuzz, make, outcome

TABLE, TAR = "manifest.parquet", "validation-00001-of-00002.tar"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("fuzz"), "pil_lanczos")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of the set that a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "sample"))


@pytest.fixture
def shards(whole: Path) -> Shards:
    return open_shards(whole)


def read(folder: Path) -> list[Any]:
    """Everything that scoring and matching read from a set."""
    shards = open_shards(folder)
    keys = shards.samples().keys
    found: list[Any] = [shards.command(["ffmpeg"]), [shards.changed_stages(name) for name in shards.variants]]
    for name in shards.variants:
        for wanted in (None, set(keys[2:])):
            for stored in shards.stored(name, wanted):
                if stored.members:
                    found.append((shards.pixels(stored).shape, shards.info(stored)["scale_x"]))
    return [*found, groups_of(shards, keys)]


def test_pieces_of_a_shard_are_the_same_in_any_order(shards: Shards) -> None:
    variant, whole = shards.reference, list(shards.stored(shards.reference.name))
    for start, stop in ((1, 2), (0, 2), (1, 1), (0, 1), (1, 2)):
        assert list(shards.of_shard(variant, 0, range(start, stop))) == whole[start:stop]
    with pytest.raises(RunError, match="does not have its 2 samples"):
        list(shards.of_shard(variant, 0, range(1, 3)))


@fuzz(150)
@given(data=st.data())
def test_a_set_with_a_changed_file(whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = Path(shutil.copytree(whole, tmp_path_factory.mktemp("set") / "sample"))
    path = folder / data.draw(st.sampled_from(("pil_bilinear", "pil_lanczos")))
    path /= data.draw(st.sampled_from(("manifest.json", TABLE, TAR)))
    change = {".json": described, ".tar": changed_tar, ".parquet": changed_bytes}[path.suffix]
    path.write_bytes(data.draw(change(path.read_bytes())))
    before = files(folder.parent)
    outcome(lambda: read(folder))
    assert files(folder.parent) == before


def test_an_intact_set_is_read(whole: Path) -> None:
    assert len(read(whole)) == 2 + 2 * (4 + 2) + 1


@fuzz(200)
@given(data=st.data())
def test_members_of_a_sample(shards: Shards, data: st.DataObject) -> None:
    stored = next(shards.stored("pil_lanczos"))
    info, png = stored.members["json"], stored.members["png"]
    assert outcome(lambda: shards.info(stored))
    changed = Stored(stored.key, {"json": data.draw(described(info)), "png": data.draw(changed_bytes(png))})
    found = outcome(lambda: shards.info(changed))
    assert not found or found["scale_x"] * found["scale_y"]
    outcome(lambda: shards.pixels(changed))
    outcome(lambda: shards.label_map(changed))


def with_column(name: str, value: object) -> Callable[[Path], None]:
    """Set a column of the last sample in the table."""

    def change(folder: Path) -> None:
        path = folder / "pil_lanczos" / TABLE
        table = pq.read_table(path)
        at = table.schema.get_field_index(name)
        column = pa.array([*table[name].to_pylist()[:-1], value], table.schema.field(at).type)
        pq.write_table(table.set_column(at, table.schema.field(at), column), path)

    return change


def with_tar(members: list[tuple[str, bytes]], kind: bytes = tarfile.REGTYPE) -> Callable[[Path], None]:
    """Fill the last tar with these members, all of one type, and zeros to its own length."""

    def change(folder: Path) -> None:
        path = folder / "pil_lanczos" / TAR
        size = path.stat().st_size
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in members:
                member = tarfile.TarInfo(name)
                member.type, member.size, member.linkname = kind, len(data), "../../../../etc/passwd"
                tar.addfile(member, io.BytesIO(data))
        path.write_bytes(buffer.getvalue().ljust(size, b"\0")[:size])

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_column("key", "../../etc/passwd"), "an invalid key"),
        (with_column("key", "\x1b[31m"), "an invalid key"),
        (with_column("shard", 7), "names a shard 7, which does not exist"),
        (with_column("shard", -1), "names a shard -1, which does not exist"),
        (with_column("error", "x" * 10_000), ""),
        (with_tar([("a.png", b"")], tarfile.SYMTYPE), "'a.png' is not a regular file"),
        (with_tar([("a.png", b"")], tarfile.LNKTYPE), "'a.png' is not a regular file"),
        (with_tar([("../../a.png", b"x"), ("a.png", b"")]), "the image of a cannot be read"),
    ],
)
def test_invalid_keys_shards_and_members_are_refused(change: Callable[[Path], None], reason: str, folder: Path) -> None:
    change(folder)
    if not reason:
        assert read(folder)
        return
    with pytest.raises((RunError, UsageError), match=reason):
        read(folder)


def test_a_label_map_is_one(shards: Shards) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(buffer, "PNG")
    assert shards.label_map(Stored("a", {LABEL_MAP: buffer.getvalue()})).shape == (3, 4)
    Image.new("RGB", (3, 4)).save(buffer := io.BytesIO(), "PNG")
    for members in ({}, {LABEL_MAP: b""}, {LABEL_MAP: buffer.getvalue()}):
        with pytest.raises(RunError, match="the label map of a cannot be read"):
            shards.label_map(Stored("a", members))
