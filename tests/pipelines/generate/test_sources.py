"""Every layout of ImageNet gives the same samples, and what is wrong with a source is reported in one line."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.errors import SourceError, UsageError
from pipelines.generate.sources import Catalogue, Missing, Sample, SampleSource, Source, open_imagenet
from pipelines.generate.sources.labels import label_by_synset, read_labels
from pipelines.store import Disk

# Well-known labels, and the devkit's ILSVRC2012_ID of the same classes (`meta.mat`).
TENCH, SEA_SNAKE, ALP, TOILET_TISSUE = 0, 65, 970, 999
DEVKIT = {SEA_SNAKE: 490, ALP: 361, TENCH: 449, TOILET_TISSUE: 889}
SYNSET = {TENCH: "n01440764", SEA_SNAKE: "n01751748", ALP: "n09193705", TOILET_TISSUE: "n15075141"}
# The first four labels of the real validation set are 65, 970, 230 and 809.
VALIDATION = {
    "ILSVRC2012_val_00000001.JPEG": SEA_SNAKE,
    "ILSVRC2012_val_00000002.JPEG": ALP,
    "ILSVRC2012_val_00000003.JPEG": TENCH,
    "ILSVRC2012_val_00000004.JPEG": TOILET_TISSUE,
}


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    found = {}
    for index, name in enumerate(VALIDATION):
        buffer = io.BytesIO()
        Image.new("RGB", (20 + index, 30), (index * 60, 10, 99)).save(buffer, "JPEG")
        found[name] = buffer.getvalue()
    return found


@pytest.fixture
def flat(images: dict[str, bytes], tmp_path: Path) -> Path:
    folder = tmp_path / "flat"
    folder.mkdir()
    for name, data in images.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{name} {label}\n" for name, label in VALIDATION.items()))
    return path


def tar(path: Path, members: Iterator[tuple[str, bytes]] | list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def opened(root: Path, labels: Path | None) -> Source:
    return open_imagenet(Disk(str(root)), Disk(str(labels)) if labels else None)


def notes(source: Source) -> list[str]:
    listing = source.listing()
    assert list(listing.samples)
    return listing.notes


def contents(source: Source) -> list[tuple[str, int, bytes | Missing]]:
    samples = Catalogue(source.listing().samples)
    return [(s.key, s.label, data) for s, data in zip(samples, source.read(samples), strict=True)]


@pytest.fixture
def expected(images: dict[str, bytes]) -> list[tuple[str, int, bytes]]:
    return [(name[: -len(".JPEG")], label, images[name]) for name, label in sorted(VALIDATION.items())]


def test_tree(images: dict[str, bytes], tmp_path: Path, expected: list[object]) -> None:
    for name, label in VALIDATION.items():
        (tmp_path / SYNSET[label]).mkdir()
        (tmp_path / SYNSET[label] / name).write_bytes(images[name])
    (tmp_path / SYNSET[TENCH] / "folder.JPEG").mkdir()
    (tmp_path / "x.JPEG").mkdir()
    source = opened(tmp_path, None)
    assert contents(source) == expected
    assert notes(source) == [
        f"skipped in {tmp_path}: x.JPEG (not class folders)",
        f"skipped in the class folders of {tmp_path}: n01440764/folder.JPEG",
    ]
    assert all(sample.path.count("/") == 1 for sample in source.listing().samples)
    assert not any(str(tmp_path) in str(sample) for sample in source.listing().samples)


def test_flat_with_a_list(flat: Path, labels: Path, expected: list[object]) -> None:
    (flat / "folder.JPEG").mkdir()
    assert contents(opened(flat, labels)) == expected


def test_official_tar_with_a_list_or_the_ground_truth(
    images: dict[str, bytes], labels: Path, tmp_path: Path, expected: list[object]
) -> None:
    path = tar(tmp_path / "ILSVRC2012_img_val.tar", sorted(images.items(), reverse=True))
    assert contents(opened(path, labels)) == expected
    truth = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("".join(f"{DEVKIT[label]}\n" for label in VALIDATION.values()))
    source = opened(path, truth)
    assert contents(source) == expected
    assert notes(source) == []


def test_parquet_of_the_hub(images: dict[str, bytes], tmp_path: Path, expected: list[object]) -> None:
    kind = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
    shuffled = sorted(VALIDATION, key=lambda name: images[name][-3:])
    for part, names in enumerate((shuffled[:3], shuffled[3:])):
        rows = [{"image": {"bytes": images[n], "path": n}, "label": VALIDATION[n]} for n in names]
        path = tmp_path / f"validation-0000{part}-of-00002.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=kind), path, row_group_size=2)
    assert contents(opened(tmp_path, None)) == expected


@pytest.mark.parametrize("extension", ["jpg", "jpeg", "JPEG"])
def test_webdataset(extension: str, images: dict[str, bytes], tmp_path: Path, expected: list[object]) -> None:
    names = sorted(images)
    for part in (0, 1):
        members = []
        for name in names[part::2]:
            key = name[: -len(".JPEG")]
            members += [(f"./{key}.{extension}", images[name]), (f"./{key}.cls", str(VALIDATION[name]).encode())]
        tar(tmp_path / f"val-{part}.tar", members)
    assert contents(opened(tmp_path, None)) == expected


def test_reading_a_slice_in_another_order_than_the_files(flat: Path, labels: Path, images: dict[str, bytes]) -> None:
    source = opened(flat, labels)
    samples = Catalogue(source.listing().samples)[1:3]
    assert list(source.read(samples)) == [images[sample.path] for sample in samples]


def test_the_thousand_synsets() -> None:
    found = label_by_synset()
    assert len(found) == 1000
    assert all(found[synset] == label for label, synset in SYNSET.items())
    assert list(found) == sorted(found)


def test_real_images_get_their_real_labels(data: Path) -> None:
    synsets = (data / "imagenet" / "synset_words.txt").read_text().splitlines()
    assert [line.split()[0] for line in synsets] == list(label_by_synset())
    flat = opened(data / "imagenet" / "flat", data / "imagenet" / "flat.txt")
    everything = read_labels(Disk(str(data / "imagenet" / "val.txt")))
    assert len(list(flat.listing().samples)) == 67
    assert all(everything.label(sample.key) == sample.label for sample in flat.listing().samples)
    tree = opened(data / "imagenet" / "tree", None)
    assert all(list(label_by_synset())[s.label] == s.path.split("/")[0] for s in tree.listing().samples)


def test_labels_may_be_synsets(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a/b.JPEG n09193705\n\nc.JPEG 3\n")
    assert read_labels(Disk(str(path))).by_key == {"b": ALP, "c": 3}


def test_listed_but_missing_and_existing_but_unlisted(flat: Path, labels: Path) -> None:
    os.rename(flat / "ILSVRC2012_val_00000002.JPEG", flat / "other.JPEG")
    source = opened(flat, labels)
    found = {key: (label, data) for key, label, data in contents(source)}
    assert isinstance(found["ILSVRC2012_val_00000002"][1], Missing)
    assert found["other"][0] == -1
    absent, unknown = notes(source)
    assert "ILSVRC2012_val_00000002 missing from the source" in absent
    assert "has no label for other.JPEG" in unknown


def test_a_source_that_disappears_is_not_a_samples_fault(
    flat: Path, labels: Path, images: dict[str, bytes], tmp_path: Path
) -> None:
    archive = tar(tmp_path / "val.tar", list(images.items()))
    for path in (flat, archive):
        source = opened(path, labels)
        samples = Catalogue(source.listing().samples)
        path.rename(tmp_path / "aside")
        with pytest.raises(SourceError, match="can no longer be read"):
            list(source.read(samples))
        (tmp_path / "aside").rename(path)
        assert all(isinstance(data, bytes) for data in source.read(samples))


def test_a_member_cut_off_by_the_tars_end_is_a_failed_sample(
    images: dict[str, bytes], labels: Path, tmp_path: Path
) -> None:
    path = tar(tmp_path / "val.tar", list(images.items()))
    source = opened(path, labels)
    samples = Catalogue(source.listing().samples)
    os.truncate(path, samples[-1].place[1] + 100)
    assert list(source.read(samples))[-1] == Missing("source: val.tar ends inside this member")


def test_more_labels_than_images_are_reported(images: dict[str, bytes], tmp_path: Path) -> None:
    path = tar(tmp_path / "val.tar", list(images.items())[:3])
    truth = tmp_path / "truth.txt"
    truth.write_text("490\n" * 50_000)
    assert notes(opened(path, truth)) == [f"{truth} has 50,000 labels, but the source has 3 images"]


def test_a_truncated_tar_is_refused(images: dict[str, bytes], labels: Path, tmp_path: Path) -> None:
    path = tar(tmp_path / "val.tar", list(images.items()))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(UsageError, match="cannot be read as an uncompressed tar"):
        Catalogue(opened(path, labels).listing().samples)


def refused(source: Path, labels: Path | None) -> str:
    with pytest.raises(UsageError) as caught:
        Catalogue(opened(source, labels).listing().samples)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_a_source_is_refused(flat: Path, labels: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no images in" in refused(empty, labels)
    assert "give a `name label` list with --labels" in refused(flat, None)
    assert "neither a folder nor" in refused(labels, None)
    (empty / "n00000001").mkdir()
    assert "is not one of ImageNet-1k's 1000 synsets" in refused(empty, None)
    (empty / "n00000001").rename(empty / "n01440764")
    assert "no images in the class folders" in refused(empty, None)
    assert "leave it out" in refused(empty, labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a.JPEG 1\nb.JPEG\n", "line 2: expected `name label`"),
        ("a.JPEG 1\nb.JPEG 1000\n", "line 2: '1000' is neither a label"),
        ("a.JPEG 1\na.JPEG 2\n", "line 2: a has two labels, 1 and 2"),
        ("1\n0\n", "line 2: '0' is not an ILSVRC2012_ID"),
        ("a.JPEG n01440765\n", "neither a label"),
    ],
)
def test_invalid_lists_are_refused(text: str, message: str, flat: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    assert message in refused(flat, path)


def test_labels_that_are_not_text_are_refused(flat: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.bin"
    path.write_bytes(b"\xff\xfe\x00")
    for none in (path, tmp_path / "nowhere.txt"):
        assert f"the labels in {none} cannot be read (" in refused(flat, none)


def test_duplicate_keys_are_refused(flat: Path, labels: Path) -> None:
    for name in VALIDATION:
        shutil.copy(flat / name, flat / f"{name[: -len('.JPEG')]}.png")
    message = refused(flat, labels)
    assert "4 duplicate keys: ILSVRC2012_val_00000001." in message


def test_keys_have_no_dots_and_fit_into_a_tar(flat: Path, labels: Path) -> None:
    shutil.copy(flat / "ILSVRC2012_val_00000001.JPEG", flat / "a.b.c.JPEG")
    keys = [key for key, _, _ in contents(opened(flat, labels))]
    assert "a_b_c" in keys
    shutil.copy(flat / "ILSVRC2012_val_00000001.JPEG", flat / f"{'k' * 96}.JPEG")
    assert "longer than 95 bytes" in refused(flat, labels)


def test_the_sample_set(photographs: dict[str, bytes]) -> None:
    samples = list(SampleSource().listing().samples)
    assert len(samples) >= 8
    assert all(0 <= sample.label < 1000 for sample in samples)
    headers = {}
    for key, data in photographs.items():
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "JPEG"
            layers = getattr(image, "layer", ())
            headers[key] = image.size, tuple(layer[1:3] for layer in layers)
    assert len({size for size, _ in headers.values()}) >= 4
    assert len({sampling for _, sampling in headers.values()}) >= 4


def test_a_sources_digest_changes_with_names_labels_and_sizes() -> None:
    sample = Sample("a", 1, "a.JPEG", 10, ("here/a.JPEG",))
    same = sample._replace(place=("elsewhere/a.JPEG",))
    others = [sample._replace(path="b.JPEG"), sample._replace(label=2), sample._replace(size=11)]
    assert Catalogue([sample]).sha256 == Catalogue([same]).sha256
    assert len({Catalogue([other]).sha256 for other in (sample, *others)}) == 4


def test_parquet_without_the_columns_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"picture": [b""], "label": [1]}), tmp_path / "a.parquet")
    assert "no column has images; expected `image` (bytes, or bytes and path) and integer `label`" in refused(
        tmp_path, None
    )
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and more that is not Parquet")
    assert "cannot be read as Parquet" in refused(tmp_path, None)
