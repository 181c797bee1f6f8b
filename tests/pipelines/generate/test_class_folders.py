"""Class folders in the wild: other formats, numbers, links, names that repeat, one level off, or in a tar."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.row import is_key
from pipelines.generate.sources import Missing, Sample
from pipelines.generate.sources.base import is_litter, key_of
from pipelines.generate.sources.catalogue import Catalogue
from pipelines.generate.sources.classes import label_of, longer_keys
from tests.pipelines.generate.trees import LITTER, READ, SYNSETS, contents, found, packed, picture, put, refused

Form = Literal["NFC", "NFD"]


@pytest.mark.parametrize("seed", range(20))
def test_no_image_and_no_class_is_lost(seed: int, tmp_path: Path) -> None:
    """Every file is a sample, litter, or counted; every class without a sample is listed."""
    draw = random.Random(seed)
    classes = draw.sample(SYNSETS, 6)
    images: dict[str, bytes] = {}
    others = set()
    put(tmp_path, {f"{name}/{litter}": b"Mac OS X" for name in classes for litter in LITTER})
    for number in range(30):
        suffix = draw.choice((*READ, "heic", "txt", "gif", "npy"))
        name = f"{draw.choice(classes[:-1])}/x{number}.{draw.choice((suffix, suffix.upper(), suffix.title()))}"
        if suffix in READ:
            images[name] = picture(number, suffix)
        else:
            others.add(name)
    put(tmp_path, {**images, **dict.fromkeys(others, b"?")})
    got = found(tmp_path)
    assert contents(tmp_path) == {key_of(n): (SYNSETS.index(n[:9]), data) for n, data in images.items()}
    empty = sorted(set(classes) - {name[:9] for name in images})
    assert empty
    notes = " ".join(got.notes)
    assert f"no images in the class folder{'s' if len(empty) > 1 else ''} {', '.join(empty)}" in notes
    assert all(litter not in notes for litter in (".DS_Store", "._a", "__MACOSX"))
    assert (f"{len(others)} names ({min(others)}, …)" in notes) == (len(others) > 1)


stems = st.sampled_from(["a", "b", "n01440764_a", "0_a", "n01443537_n01440764_a", "a_jpg", "n01440764_a_png", "é", "_"])
paths = st.tuples(
    st.sampled_from(["n01440764", "n01443537", "n01484850"]), stems, st.sampled_from(["jpg", "png", "JPG"])
)


@given(st.sets(paths, min_size=1, max_size=25), st.randoms(use_true_random=False), st.integers(1, 25))
def test_names_that_repeat_get_keys_that_do_not(
    held: set[tuple[str, str, str]], draw: random.Random, limit: int
) -> None:
    files = sorted(f"{name}/{stem}.{suffix}" for name, stem, suffix in held)
    samples = [Sample(key_of(path), label_of(path[:9]), path, 1, (path,)) for path in files]
    ordered = Catalogue(samples, longer_keys=longer_keys)
    keys = {sample.path: sample.key for sample in ordered}
    assert len({*keys.values()}) == len(files)
    assert list(keys.values()) == sorted(keys.values())
    assert all(map(is_key, keys.values()))
    assert all(keys[path].endswith(key_of(path)) or path.rpartition(".")[2] in keys[path] for path in files)
    draw.shuffle(samples)
    assert list(Catalogue(samples, longer_keys=longer_keys)) == list(ordered)
    assert list(Catalogue(samples, limit, longer_keys=longer_keys)) == list(ordered)[:limit]
    plain = [key_of(path) for path in files]
    if len({*plain}) == len(plain):
        assert list(ordered) == list(Catalogue(samples))
        assert ordered.renamed == 0
    else:
        assert ordered.renamed >= 2
        assert all(plain.count(key_of(path)) == 1 for path in files if keys[path] == key_of(path))


def test_renamed_samples_are_reported(tmp_path: Path) -> None:
    put(
        tmp_path,
        {f"{name}/art_{i}.jpg": b"" for name in SYNSETS[:3] for i in range(2)} | {f"{SYNSETS[0]}/one.jpg": b""},
    )
    got = found(tmp_path)
    assert [sample.key for sample in got.samples][-1] == "one"
    assert [(s.key, s.label) for s in got.samples][:2] == [("n01440764_art_0", 0), ("n01440764_art_1", 0)]
    assert got.notes == ["6 images share a name with another: their keys are like n01440764_art_0"]


@given(st.sets(st.integers(0, 999), min_size=1, max_size=12))
def test_numbers_are_labels(tmp_path_factory: pytest.TempPathFactory, numbers: set[int]) -> None:
    root = put(tmp_path_factory.mktemp("v2"), {f"{n}/{n:04x}.jpeg": b"" for n in numbers})
    got = found(root)
    assert {int(sample.key, 16): sample.label for sample in got.samples} == {n: n for n in numbers}
    assert bool(got.notes) == (0 not in numbers)


def test_numbers_that_are_not_labels(tmp_path: Path) -> None:
    root = put(tmp_path / "one", {f"{n}/{n}.jpeg": b"" for n in range(1, 1001)})
    assert "count from 1 to 1000" in refused(root)
    put(root, {"0/0.jpeg": b""})
    assert "1000 is not a label from 0 to 999" in refused(root)
    root = put(tmp_path / "mixed", {"3/a.jpeg": b"", "n01440764/b.jpeg": b""})
    assert "two kinds of class folders, n01440764 and 3" in refused(root)
    root = put(tmp_path / "twice", {"3/a.jpeg": b"", "003/b.jpeg": b""})
    assert "two folders for the label 3, 003 and 3" in refused(root)
    root = put(tmp_path / "years", {"2012/a.jpeg": b"", "n01440764/b.jpeg": b""})
    assert [sample.key for sample in found(root).samples] == ["b"]


def test_numbered_folders_next_to_labelled_images_are_not_classes(tmp_path: Path) -> None:
    root = put(tmp_path / "flat", {"a.jpg": b"", "0/b.jpg": b""})
    (tmp_path / "labels.txt").write_text("a.jpg 7\n")
    assert contents(root, tmp_path / "labels.txt") == {"a": (7, b"")}
    assert set(contents(root)) == {"b"}


wraps = st.lists(st.sampled_from(["val", "imagenet", "Data", "2012", "a b.c", "é"]), min_size=1, max_size=4)


insides = st.sampled_from(["n01440764/a.jpg", "0/a.jpg", "a.parquet", "a.tar", "n01440764/images/a.jpg"])


@given(wraps, insides, st.sets(st.sampled_from(["devkit.tar.gz", "meta.bin", ".DS_Store", "._val", "train.txt"])))
def test_the_nearest_folder_is_named(
    tmp_path_factory: pytest.TempPathFactory, wrap: list[str], inside: str, beside: set[str]
) -> None:
    root = tmp_path_factory.mktemp("off")
    folder = root.joinpath(*wrap)
    put(folder, {inside: b""})
    put(root, dict.fromkeys(beside, b""))
    message = refused(root)
    if not (wrap[-1] == "2012" and inside.endswith(".jpg")):
        # Archives in separate folders are read there.
        assert f"; {folder} has " in message or (inside in ("a.parquet", "a.tar") and str(folder / inside) in message)
    if inside.endswith(".jpg"):
        assert contents(folder) == {"a": (0, b"")}


def test_a_single_class_folder_and_a_validation_set_next_to_others(tmp_path: Path) -> None:
    put(tmp_path, {f"{split}/n01440764/{split}.jpg": b"" for split in ("test", "train", "validation")})
    assert f"{tmp_path / 'validation'} has class folders: give it" in refused(tmp_path)
    assert "is itself a class folder" in refused(tmp_path / "train" / "n01440764")


def test_links(tmp_path: Path) -> None:
    put(tmp_path / "store", {"n01440764/a.jpg": b"a", "n01443537/b.jpg": b"b"})
    val = tmp_path / "val"
    val.mkdir()
    for name in ("n01440764", "n01443537", "n01484850"):
        (val / name).symlink_to(tmp_path / "store" / name)
    (val / "n01440764" / "c.JPEG").symlink_to("../../gone/c.JPEG")
    (val / "n01440764" / "d.webp").symlink_to("d.webp")
    (val / "n01440764" / "e.txt").symlink_to("nowhere")
    nowhere = Missing("source: a link that leads nowhere")
    expected = {"a": (0, b"a"), "b": (1, b"b"), "c": (0, nowhere), "d": (0, nowhere)}
    assert contents(val) == expected
    assert found(val).notes == ["class folders that are broken links: n01484850"]
    (tmp_path / "labels.txt").write_text("a 0\nc 0\nd 0\nz 3\n")
    flat = contents(val / "n01440764", tmp_path / "labels.txt")
    assert flat.pop("z") == (3, Missing("source: named by the labels, but there is no such file"))
    assert flat == {key: value for key, value in expected.items() if key != "b"}
    text = put(tmp_path / "text", {"n01440764": b"../store/n01440764"})
    assert "n01440764 is a broken link, not a folder" in refused(text)


def test_archives_next_to_class_folders_are_reported(tmp_path: Path) -> None:
    files = {"ILSVRC2012_img_val.tar": b"x", "a.parquet": b"x", "devkit.tar.gz": b"x", "._b.tar": b"x"}
    put(tmp_path, {"n01440764/a.jpg": b"a", **files})
    assert contents(tmp_path) == {"a": (0, b"a")}
    assert "ILSVRC2012_img_val.tar, a.parquet, devkit.tar.gz: only the folders are read" in found(tmp_path).notes[0]


def test_litter_is_recognised_by_any_part_of_a_path() -> None:
    for name in (*LITTER, "val/._x", "__MACOSX", "a/__MACOSX/", "__MACOSX/b/c.jpg", "x/THUMBS.DB"):
        assert is_litter(name), name
    for name in ("a.jpg", "_a.jpg", ".a.jpg", "x__MACOSX/a.jpg", "a/.b_.jpg", "DS_Store", "._x/a.jpg"):
        assert not is_litter(name), name


def test_litter_in_other_sources(tmp_path: Path) -> None:
    images = {f"a{i}.jpg": picture(i, "jpg") for i in range(3)}
    (tmp_path / "labels.txt").write_text("".join(f"{name} 3\n" for name in images))
    root = put(tmp_path / "flat", {**images, **dict.fromkeys(LITTER, b"Mac"), "._a0.jpg": b"Mac"})
    expected = {key_of(name): (3, data) for name, data in images.items()}
    assert contents(root, tmp_path / "labels.txt") == expected
    assert contents(packed(tmp_path / "val.tar", root), tmp_path / "labels.txt") == expected
    shards = put(tmp_path / "shards", {"._a.tar": b"Mac", "__MACOSX/._a.tar": b"Mac"})
    put(root, {f"a{i}.cls": b"3" for i in range(3)} | {"._a0.cls": b"Mac"})
    packed(shards / "a.tar", root, arcname=".")
    got = found(shards)
    assert {sample.key: sample.label for sample in got.samples} == dict.fromkeys(expected, 3)
    assert got.notes == []


@pytest.mark.parametrize(("listed", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_stored_in_a_different_form_than_listed(listed: Form, stored: Form, tmp_path: Path) -> None:
    name = "Ångström é ü.jpg"
    root = put(tmp_path / "flat", {unicodedata.normalize(stored, name): b"x", "b.jpg": b"y"})
    text = unicodedata.normalize(listed, f"{name} 7\nb.jpg 8\n")
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8")
    key = key_of(unicodedata.normalize(stored, name))
    assert contents(root, tmp_path / "labels.txt") == {key: (7, b"x"), "b": (8, b"y")}


names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=120)


@given(names.map(lambda name: name[:250]))
def test_any_name_gives_a_key_or_one_line(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.mktemp("names")
    file = f"{name}.jpg"
    if len(file.encode()) > 255:
        return
    put(root, {f"n01440764/{file}": b"x", "n01443537/b.png": b"y"})
    if is_litter(file):
        assert set(contents(root)) == {"b"}
    elif len(name.encode()) > 95:
        assert "longer than 95 bytes, which a tar cannot hold: rename the file" in refused(root)
    else:
        keys = set(contents(root)) - {"b"}
        assert all(map(is_key, keys))
        assert keys == {name.replace(".", "_")} or name == "b"


def test_the_folders_in_field(data: Path) -> None:
    """As described in shared/data/field/README.md."""
    field = data / "field"
    assert len(contents(field / "formats" / "val")) == 6
    assert len(contents(field / "mac_tree" / "val")) == 3
    assert len(contents(field / "repeated_names" / "imagenet-r")) == 6
    v2 = contents(field / "imagenetv2" / "imagenetv2-matched-frequency-format-val")
    assert [label for _, (label, _) in sorted(v2.items())] == [0, 1, 10, 100, 999]
    assert "one_level_off/imagenet/val has class folders" in refused(field / "one_level_off" / "imagenet")
    assert {label for label, _ in contents(field / "one_level_off" / "tiny").values()} == {1, 2}
    assert len(contents(field / "tar_beside" / "val")) == 4
