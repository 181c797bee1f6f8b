"""Class folders packed into tars: one for all, or one for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.generate.sources import Missing
from pipelines.generate.sources.find import find
from pipelines.options import Inputs
from tests.fuzzing import tar_of
from tests.pipelines.generate.trees import LITTER, READ, SYNSETS, contents, found, packed, picture, put, refused


def test_one_tar_for_each_class_is_a_tree_of_classes(tmp_path: Path) -> None:
    """As unpacked from the official tar of the training images; an image's name occurs in two classes."""
    files = {f"{name}/{stem}.JPEG": picture(place, "jpg") for place, name in enumerate(SYNSETS[:3]) for stem in "ab"}
    put(tmp_path / "tree", files)
    tars = {}
    for name in SYNSETS[:3]:
        members = [(path.removeprefix(f"{name}/"), data) for path, data in files.items() if path.startswith(name)]
        tars[f"{name}.tar"] = tar_of(members)
    assert contents(put(tmp_path / "tars", tars)) == contents(tmp_path / "tree")
    note = f"the tars of {tmp_path / 'tars'} name no split: read as validation (for the other, give --split train)"
    assert note in found(tmp_path / "tars").notes
    assert "read as train (" in find("imagenet", Inputs(str(tmp_path / "tars")), None, split="train").notes[0]
    assert not [note for note in found(tmp_path / "tree").notes if "split" in note]
    one = contents(tmp_path / "tars" / f"{SYNSETS[1]}.tar")
    assert one == {stem: (1, files[f"{SYNSETS[1]}/{stem}.JPEG"]) for stem in "ab"}
    put(tmp_path, {"official.tar": tar_of([*tars.items()])})
    assert "official.tar has a tar for each class: unpack it" in refused(tmp_path / "official.tar")
    labelled = tar_of([("a.jpg", b"1"), ("a.cls", b"5")])
    assert contents(put(tmp_path / "shards", {f"{SYNSETS[0]}.tar": labelled})) == {"a": (5, b"1")}


@pytest.mark.parametrize("arcname", [".", "val", "./ILSVRC/Data/val", "a b/é.d"])
@pytest.mark.parametrize("names", [SYNSETS[:3], ["0", "10", "999"]])
def test_a_tar_of_class_folders_equals_the_folders(arcname: str, names: Sequence[str], tmp_path: Path) -> None:
    files = {f"{name}/x{i}.{READ[i]}": picture(i, READ[i]) for name in names for i in range(3)}
    files |= {f"{names[0]}/one.{suffix}": picture(9, suffix) for suffix in ("bmp",)}
    root = put(tmp_path / "tree", {**files, **{f"{names[0]}/{litter}": b"Mac" for litter in LITTER}})
    tar = packed(tmp_path / "val.tar", root, arcname=arcname)
    assert contents(tar) == contents(root)
    assert len(contents(tar)) == 10
    assert found(tar).notes == found(root).notes


def test_tars_that_are_not_one_set_of_class_folders(tmp_path: Path) -> None:
    both = put(tmp_path / "both", {f"{split}/n01440764/{split}.jpg": b"" for split in ("train", "val")})
    assert "more than one place (., ./train" not in (message := refused(packed(tmp_path / "a.tar", both, arcname=".")))
    assert "more than one place (./train, ./val)" in message
    shard = put(tmp_path / "shard", {f"n01440764/{n}.{e}": b"5" for n in "ab" for e in ("jpg", "cls")})
    assert {key: label for key, (label, _) in contents(packed(tmp_path / "b.tar", shard, arcname="x")).items()} == {
        "x_n01440764_a": 5,
        "x_n01440764_b": 5,
    }
    linked = put(tmp_path / "linked", {"n01440764/a.jpg": b"a"})
    (linked / "n01440764" / "b.jpg").symlink_to("a.jpg")
    os.link(linked / "n01440764" / "a.jpg", linked / "n01440764" / "c.jpg")
    links = [data for _, data in contents(packed(tmp_path / "c.tar", linked)).values() if isinstance(data, Missing)]
    assert len(links) == 2
    assert all("--dereference" in link.reason for link in links)


@pytest.mark.parametrize(
    ("mode", "name"), [("w:gz", "v.tar.gz"), ("w:xz", "v.txz"), ("w:bz2", "v.tar"), ("w:gz", "v.tar")]
)
def test_compressed_tars_say_how_to_unpack(mode: str, name: str, tmp_path: Path) -> None:
    tar = packed(tmp_path / "given" / name, put(tmp_path / "given", {"n01440764/a.jpg": b""}) / "n01440764", mode)
    assert f"{tar} is compressed: unpack it (tar -xf {name} -C FOLDER)" in refused(tar)
    (tmp_path / "given" / "n01440764" / "a.jpg").unlink()
    (tmp_path / "given" / "n01440764").rmdir()
    assert f"{tar} is compressed" in refused(tmp_path / "given")
