"""Parts of shards return what was put into them, however it was divided, or say that they are damaged."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from manifests.images import IMAGES, ImageRow
from pipelines.generate import parts
from pipelines.generate.parts import Part, PartWriter
from pipelines.store import Disk


def row(key: str) -> ImageRow:
    """A row with floats that have no exact decimal, and extra fields nested like COCO's."""
    extra = {"image_id": 7, "boxes": [[1.5, 2.25, 1 / 3, 0.1]], "name": "Zoë"}
    return ImageRow(
        key=key,
        shard=3,
        label=1,
        source_path=f"a/{key}.jpg",
        source_sha256="",
        source_width=5,
        source_height=4,
        source_orientation=1,
        source_profile="sRGB",
        residual_mean_abs=2 / 3,
        extra=extra,
    )


@pytest.mark.parametrize("seed", range(20))
def test_members_and_rows_come_back_in_order(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random.seed(seed)
    monkeypatch.setattr(parts, "_SEGMENT", random.choice([1, 100, 3000, 2**24]))
    monkeypatch.setattr(parts, "BLOCK", random.choice([1, 7, 512, 2**22]))
    names = [f"variant_{number}" for number in range(random.randint(1, 5))]
    members: dict[str, list[bytes]] = {name: [] for name in names}
    rows: dict[str, list[ImageRow]] = {name: [] for name in names}
    file = io.BytesIO()
    writer = PartWriter(file, names)
    for number in range(random.randint(0, 20)):
        for name in names:
            members[name].append(random.randbytes(random.choice([0, 1, 512, 1536])))
            rows[name].append(row(f"{name}-{number}"))
            writer.add(name, rows[name][-1], members[name][-1])
        writer.end_sample()
    writer.close()
    (tmp_path / "one.part").write_bytes(file.getvalue())
    part = Part(Disk(str(tmp_path / "one.part")).pieces(), IMAGES)
    for name in random.sample(names, len(names)):
        assert b"".join(part.members(name)) == b"".join(members[name])
        assert part.rows(name) == rows[name]


def read_all(path: Path) -> None:
    part = Part(Disk(str(path)).pieces(), IMAGES)
    for name in ("a", "b"):
        list(part.members(name))
        part.rows(name)


@pytest.mark.parametrize("seed", range(20))
def test_damage_is_found(seed: int, tmp_path: Path) -> None:
    random.seed(seed)
    file = io.BytesIO()
    writer = PartWriter(file, ["a", "b"])
    for name in ("a", "b"):
        writer.add(name, row(name), random.randbytes(512))
    writer.close()
    whole = file.getvalue()
    at = random.randrange(len(whole))
    flipped = whole[:at] + bytes([whole[at] ^ 1 << random.randrange(8)]) + whole[at + 1 :]
    for damaged in (whole[:at], flipped):
        path = tmp_path / "one.part"
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"."):
            read_all(path)
