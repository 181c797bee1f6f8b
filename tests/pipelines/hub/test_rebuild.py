"""hub.py rebuild: a set is made again from its manifests; differences are reported and explained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from PIL import Image

from manifests.derive import read_records
from manifests.schema import Record
from pipelines.store import Disk
from tests.hub import Hub
from tests.hub.state import Repo
from tests.pipelines.hub.conftest import SYNSETS, User, altered, card_of, files, good, hold, put, refusal, shards_of
from tests.rows import image_rows


def tars_asked_for(hub: Hub) -> list[str]:
    return [request.path for request in hub.requests if ".tar" in request.path]


def test_the_same_set_is_rebuilt_from_the_source(
    hub: Hub, user: User, bare: Repo, imagenet: Path, source: Path, tmp_path: Path
) -> None:
    hold(hub, bare)
    assert "Geometry: `crop`, size 32 of 40." in card_of(bare).text
    output = tmp_path / "rebuilt"
    shown = good(user.rebuild("mix_resize", output, "--source", source))
    assert "every pixel agrees" in shown
    assert "byte for byte" in shown
    assert shards_of(files(output / "imagenet"), "mix_resize") == shards_of(files(imagenet), "mix_resize")
    assert "OK" in good(user.verify(output))
    assert not tars_asked_for(hub)


def test_a_different_source_is_refused(hub: Hub, user: User, bare: Repo, source: Path, tmp_path: Path) -> None:
    hold(hub, bare)
    other, output = tmp_path / "other", tmp_path / "rebuilt"
    for synset in SYNSETS[:2]:
        (other / synset).mkdir(parents=True)
        Image.new("RGB", (64, 48)).save(other / synset / f"{synset}_1.JPEG")
    assert "source" in refusal(user.rebuild("mix_resize", output, "--source", other))
    assert "--source" in refusal(user.rebuild("mix_resize", output))
    assert "nowhere" in refusal(user.rebuild("mix_resize", output, "--source", tmp_path / "nowhere"))
    assert "mix_resize" in refusal(user.rebuild("mix_resiz", output, "--source", source))
    assert not list(output.rglob("*.tar"))


def by_an_older_pillow(record: Record) -> Record:
    libraries = {**record.recipe.provenance["libraries"], "Pillow": "11.3.0"}
    recipe = dataclasses.replace(record.recipe, provenance={**record.recipe.provenance, "libraries": libraries})
    return dataclasses.replace(record, recipe=recipe)


def with_other_pixels(record: Record) -> Record:
    """The record, with other pixels for the second and the last sample of the first shard."""
    if record.shard:
        return record
    rows = [
        dataclasses.replace(row, pixel_sha256="0" * 64) if place in (1, 3) else row
        for place, row in enumerate(image_rows(record))
    ]
    return dataclasses.replace(record, rows=tuple(rows))


def test_pixels_that_differ_are_counted_and_explained(
    hub: Hub, user: User, published: Repo, made: Path, tmp_path: Path
) -> None:
    """Both variants were made by an older version: one has the same pixels, the other does not."""
    repo = hold(hub, published)
    put(repo, "main", altered(made / "opencv", by_an_older_pillow))
    put(repo, "main", altered(made / "pil_lanczos", lambda record: with_other_pixels(by_an_older_pillow(record))))
    done = user.rebuild("opencv,pil_lanczos", tmp_path / "rebuilt")
    assert done.returncode == 1, done.stdout + done.stderr
    rows = next(read_records([Disk(str(made)) / "pil_lanczos" / "validation-00000-of-00003.json"])).rows
    differing, agreeing = {rows[1].key, rows[3].key}, {rows[0].key, rows[2].key}
    assert all(key in done.stdout for key in differing)
    assert not any(key in done.stdout for key in agreeing)
    (differs,) = [line for line in done.stdout.splitlines() if "2 of 9" in line]
    assert "pil_lanczos" in differs
    (agreed,) = [line for line in done.stdout.splitlines() if "every pixel agrees" in line]
    assert "opencv" in agreed
    assert "11.3.0" in done.stdout
    assert not tars_asked_for(hub)
