"""The validation split is found wherever its name is; what is ambiguous is refused with a list of splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UsageError
from pipelines.generate.sources.splits import Archives, find_archives
from pipelines.store import Disk
from tests.fuzzing import HOSTILE, changed_json, fuzz, outcome

VALIDATION = ("val", "valid", "validation")
OTHERS = ("train", "test", "dev", "training", "testing", "trainval")
# File names as written by timm, the Hub, img2dataset and people.
PATTERNS = (
    *("imagenet1k-{}-{:04d}", "{}-{:05d}-of-00009", "{}-{:05d}-of-00009-0a1b2c3d", "{}{:03d}", "{}_{:03d}"),
    *("x.{}.{:02d}", "shapes-{}-{:03d}", "ILSVRC2012_img_{}_{:d}"),
)


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0" * 10)
    return folder


def found(folder: Path) -> Archives:
    return find_archives(Disk(str(folder)))


def names(folder: Path) -> list[str]:
    return [Path(file.path).relative_to(folder).as_posix() for file in found(folder).files]


def refused(folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        found(folder)
    return str(caught.value)


@st.composite
def folders(draw: st.DrawFn) -> tuple[str, dict[str, list[str]]]:
    """A folder for the files, relative to the root, and the files of some splits."""
    pattern, suffix = draw(st.sampled_from(PATTERNS)), draw(st.sampled_from([".parquet", ".tar", ".TAR"]))
    splits = draw(st.lists(st.sampled_from(OTHERS), unique=True, max_size=3))
    splits += draw(st.lists(st.sampled_from(VALIDATION), unique=True, min_size=not splits, max_size=2))
    upper = draw(st.booleans())
    count = draw(st.integers(1, 3))
    spelled = {split: split.upper() if upper else split for split in splits}
    files = {split: [pattern.format(spelled[split], at) + suffix for at in range(count)] for split in splits}
    return draw(st.sampled_from(["", "data/", "default/", "imagenet-1k/data/"])), files


@fuzz(150)
@given(made=folders())
def test_the_split_in_a_name(tmp_path_factory: pytest.TempPathFactory, made: tuple[str, dict[str, list[str]]]) -> None:
    below, files = made
    root = put(tmp_path_factory.mktemp("root"), *(below + name for held in files.values() for name in held))
    put(root, below + "README.md", below + "._val-00000.tar", below + "._val-00000.parquet")
    validation = [split for split in files if split in VALIDATION]
    if len(files) == 1 or len(validation) == 1:
        split = validation[0] if len(files) > 1 else next(iter(files))
        assert names(root) == sorted(below + name for name in files[split])
        assert len(found(root).notes) == (len(files) > 1)
        assert all(other in found(root).notes[0] for other in files if other != split)
    else:
        message = refused(root)
        assert all(min(held) in message for held in files.values())


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["0000.tar", "0001.tar"], ["0000.tar", "0001.tar"]),
        (["part-a.tar", "part-b.tar"], ["part-a.tar", "part-b.tar"]),
        (["validation-0.parquet", "more.parquet"], ["validation-0.parquet"]),
        (["default/validation/0000.parquet", "default/train/0000.parquet"], ["default/validation/0000.parquet"]),
        (["default/partial-val/0000.parquet", "default/test/0.parquet"], ["default/partial-val/0000.parquet"]),
        (["test/0000.parquet"], ["test/0000.parquet"]),
        (["data/train/0.tar", "data/valid/0.tar", "data/valid/1.tar"], ["data/valid/0.tar", "data/valid/1.tar"]),
        (["val.tar", "n01440764/a.JPEG"], ["val.tar"]),
        (["n01440764/val.tar", "n01443537/a.JPEG"], []),
        (["val/a.JPEG", "train/a.JPEG"], []),
    ],
)
def test_files_and_folders(files: list[str], chosen: list[str], tmp_path: Path) -> None:
    assert names(put(tmp_path, *files)) == chosen


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train-0.tar", "more.tar"], "none is clearly validation: unnamed (more.tar), train (train-0.tar)"),
        (["a-00000-of-00002.tar", "b-00000-of-00002.tar"], "none is clearly validation: a (a-0"),
        (["default/train/0.parquet", "default/test/0.parquet"], "test (test), train (train)"),
        (["val/0.tar", "small-val/0.tar"], "both of the same split"),
    ],
)
def test_what_is_ambiguous_is_refused(files: list[str], message: str, tmp_path: Path) -> None:
    assert message in refused(put(tmp_path, *files))


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["train-0.tar", "val-0.tar"], ["train-0.tar"]),
        (["default/validation/0.parquet", "default/train/0.parquet"], ["default/train/0.parquet"]),
        (["data/training/0.tar", "data/test/0.tar"], ["data/training/0.tar"]),
        (["0000.tar", "0001.tar"], ["0000.tar", "0001.tar"]),
        (["images-00000-of-00001.tar"], ["images-00000-of-00001.tar"]),
        (["val-0.tar"], "has only val"),
        (["test/0000.parquet"], "has only test"),
        (["val-0.tar", "test-0.tar"], "none is clearly train"),
        (["train-0.tar", "training-0.tar"], "several are train"),
    ],
)
def test_the_training_split(files: list[str], chosen: list[str] | str, tmp_path: Path) -> None:
    root = Disk(str(put(tmp_path, *files)))
    if isinstance(chosen, str):
        with pytest.raises(UsageError, match=chosen):
            find_archives(root, "train")
    else:
        assert [file.path.removeprefix(f"{tmp_path}/") for file in find_archives(root, "train").files] == chosen


INFO = {"splits": {"train": {"filenames": ["a.tar", "b.tar"]}, "validation": {"filenames": ["c.tar", "d.tar"]}}}


def test_the_split_in_timms_description(tmp_path: Path) -> None:
    put(tmp_path, "a.tar", "b.tar", "c.tar", "d.tar")
    (tmp_path / "_info.json").write_text(json.dumps(INFO))
    assert names(tmp_path) == ["c.tar", "d.tar"]
    assert "skipped: train (2 files, a.tar)" in found(tmp_path).notes[0]
    assert [file.name for file in find_archives(Disk(str(tmp_path)), "train").files] == ["a.tar", "b.tar"]
    (tmp_path / "_info.json").write_text(json.dumps(INFO).replace("validation", "other"))
    assert "other (2 files, c.tar), train (2 files, a.tar)" in refused(tmp_path)


@fuzz(100)
@given(info=st.one_of(changed_json(INFO), st.sampled_from(HOSTILE)))
def test_a_damaged_description_breaks_nothing(tmp_path: Path, info: object) -> None:
    put(tmp_path, "a.tar", "c.tar")
    (tmp_path / "_info.json").write_text(json.dumps(info))
    chosen = outcome(lambda: names(tmp_path))
    assert chosen is None or set(chosen) <= {"a.tar", "c.tar"}


def test_splits_side_by_side(data: Path) -> None:
    chosen = found(data / "field" / "parquet_splits")
    assert [file.name for file in chosen.files] == ["val-00000-of-00001-9f8e7d6c.parquet"]
