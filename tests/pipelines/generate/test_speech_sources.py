"""Recordings and their transcripts in the layouts in use: nothing is lost, and nothing is guessed."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import pytest
from hypothesis import given

from pipelines.errors import UsageError
from pipelines.generate.sources import Missing
from pipelines.generate.sources.base import ABSENT, BROKEN_LINK
from pipelines.generate.sources.find import Found, find
from pipelines.generate.sources.transcripts import read_metadata
from pipelines.options import Inputs
from tests.fuzzing import changed_bytes, fuzz, outcome

# Nothing is decoded here: a recording is its name and any bytes.
LATIN = "déjà vu".encode("latin-1")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"


def put(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def tar(path: Path, files: list[tuple[str, bytes | str]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            content = data.encode() if isinstance(data, str) else data
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def found(source: Path, dataset: str = "speech") -> Found:
    return find(dataset, Inputs(str(source), None, None), None)


def texts(source: Path) -> dict[str, str]:
    return {sample.key: str(dict(sample.extra)["text"]) for sample in found(source).samples}


def contents(source: Path) -> dict[str, bytes | Missing]:
    got = found(source)
    moved = pickle.loads(pickle.dumps(got.source))
    return {sample.key: data for sample, data in zip(got.samples, moved.read(got.samples), strict=True)}


def refused(source: Path, dataset: str = "speech") -> str:
    with pytest.raises(UsageError) as caught:
        found(source, dataset)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_ljspeech_as_unpacked(tmp_path: Path) -> None:
    metadata = (
        '\ufeffLJ1|In 1455, "the|in fourteen fifty-five, "the\r\n'
        "LJ2|no quotes end it|\r\n"
        "LJ3|a line\u2028with\x85ends|a line\u2028with\x85ends\r\n"
        "\r\n"
        "LJ4.wav|two columns\r\n"
        "LJ5|lost|lost\r\n"
        "a.b|dots|dots"
    )
    names = ("LJ1.wav", "LJ2.WAV", "LJ3.flac", "LJ4.wav", "a.b.wav", "more.wav")
    litter: dict[str, bytes | str] = {"wavs/._LJ1.wav": b"x", ".DS_Store": b"x", "wavs/Thumbs.db": b"x"}
    files = {f"wavs/{name}": name for name in names}
    root = put(tmp_path / "LJSpeech-1.1", {"metadata.csv": metadata, "README": "read me", **files, **litter})
    assert texts(root) == {
        "LJ1": 'in fourteen fifty-five, "the',
        "LJ2": "no quotes end it",
        "LJ3": "a line\u2028with\x85ends",
        "LJ4": "two columns",
        "LJ5": "lost",
        "a_b": "dots",
        "more": "",
    }
    assert contents(root) == {
        **{name.rpartition(".")[0].replace(".", "_"): name.encode() for name in names},
        "LJ5": ABSENT,
    }
    got = found(root)
    assert got.source.kind == "speech-ljspeech"
    assert got.notes == [
        f"metadata.csv lists LJ5 missing from {root}: counted as failed",
        "metadata.csv does not list wavs/more.wav: used with an empty text",
        f"skipped in {root}: README",
    ]
    for same in (tmp_path, root / "wavs", root / "metadata.csv"):
        assert [*found(same).samples] == [*got.samples]


def test_another_text_is_another_set(tmp_path: Path) -> None:
    """It is part of the shards."""
    digests = set()
    for text in ("a|one", "a|two"):
        put(tmp_path, {"metadata.csv": text, "wavs/a.wav": b"x"})
        digests.add(found(tmp_path).samples.sha256)
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("a|one\nb|two\na|three", "line 3: 'a' is listed twice"),
        ("a.wav|one\nwavs/a|three", "line 2: 'a' is listed twice"),
        ("file_name,text\na.wav,one", "line 1: expected id|text|normalised text, found 'file_name,text'"),
        ("a|b|c|d", "line 1: expected id|text|normalised text"),
        ("|one", "line 1: expected"),
        ("\n\n", "is empty"),
        (b"a|one\nb|" + LATIN, "is not UTF-8 (byte 9): convert it"),
        ("a|one".encode("utf-16"), "is not UTF-8"),
        (LFS, "is a Git LFS pointer"),
    ],
)
def test_invalid_metadata_is_refused(metadata: bytes | str, reason: str, tmp_path: Path) -> None:
    message = refused(put(tmp_path, {"metadata.csv": metadata, "wavs/a.wav": b"x"}))
    assert reason in message
    assert f"{tmp_path}/metadata.csv" in message


def test_accents_may_be_composed_or_decomposed(tmp_path: Path) -> None:
    put(tmp_path, {"metadata.csv": "caf\u00e9|one", "wavs/cafe\u0301.wav": b"x"})
    assert list(texts(tmp_path).values()) == ["one"]


# Files, and the transcripts of their recordings by key.
CORPORA: dict[str, tuple[dict[str, bytes | str], dict[str, str]]] = {
    "LibriSpeech": (
        {
            "dev/84/121123/84-121123-0000.flac": b"0",
            "dev/84/121123/84-121123-0001.flac": b"1",
            "dev/84/121123/84-121123.trans.txt": "84-121123-0000 GO DO\n84-121123-0001 BUT  IN\n",
            "dev/85/1/85-1-0000.flac": b"2",
            "README.TXT": "read me",
        },
        {"84-121123-0000": "GO DO", "84-121123-0001": "BUT  IN", "85-1-0000": ""},
    ),
    "LibriTTS": (
        {
            "84/1/84_1_0_1.wav": b"0",
            "84/1/84_1_0_1.original.txt": "Mr. 5",
            "84/1/84_1_0_1.normalized.txt": "mister five\n",
            "84/1/84_1_0_2.wav": b"1",
            "84/1/84_1_0_2.original.txt": "only this",
        },
        {"84_1_0_1": "mister five", "84_1_0_2": "only this"},
    ),
    "VCTK": (
        {
            "wav48/p225/p225_001_mic1.flac": b"0",
            "wav48/p225/p225_001_mic2.flac": b"1",
            "wav48/p226/p226_001_mic1.flac": b"2",
            "txt/p225/p225_001.txt": "Please call Stella.\r\n",
            "txt/p227/p226_001.txt": "another's",
        },
        {"p225_001_mic1": "Please call Stella.", "p225_001_mic2": "Please call Stella.", "p226_001_mic1": ""},
    ),
    "aligned": (
        {"a/x.y.WAV": b"0", "a/x.y.lab": "two\n lines \n", "a/x.txt": "of another", "b/z.wav": b"1", "b/z.TXT": "ok"},
        {"x_y": "two lines", "z": "ok"},
    ),
    "names that repeat": (
        {"a/1.wav": b"0", "a/1.txt": "one", "b/1.wav": b"1", "b/1.txt": "other", "b/2.wav": b"2", "b/2.flac": b"3"},
        {"1": "one", "1 ": "other", "2": "", "2 ": ""},
    ),
    "WebDataset": (
        {
            "u1.wav": b"0",
            "u1.txt": "by txt",
            "u1.json": '{"text": "by json"}',
            "u2.flac": b"1",
            "u2.json": '{"speaker": 7, "text": "by json"}',
            "u3.flac": b"2",
            "u3.json": "[1]",
        },
        {"u1": "by txt", "u2": "by json", "u3": ""},
    ),
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_corpus_is_the_same_in_a_folder_and_in_a_tar(corpus: str, tmp_path: Path) -> None:
    files, expected = CORPORA[corpus]
    folder = put(tmp_path / "folder", files)
    packed = tar(tmp_path / "packed.tar", sorted(files.items()))
    recordings = {data for name, data in files.items() if name.lower().endswith((".wav", ".flac"))}
    for source in (folder, packed):
        found_texts = texts(source)
        assert sorted(found_texts.values()) == sorted(expected.values())
        if corpus != "names that repeat":
            assert found_texts == expected
        assert sorted(contents(source).values()) == sorted(recordings)
    assert set(texts(folder)) == {key.removeprefix("packed_tar_") for key in texts(packed)}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.txt": LATIN}, "a.txt is not UTF-8"),
        ({"a.txt": LFS}, "a.txt is a Git LFS pointer"),
        ({"a.txt": b"x" * 70_000}, "a.txt has 70,000 bytes, but a transcript has at most 65,536"),
        ({"a.txt": "é" * 4_200}, "a.wav has 8,400 bytes, but a table's has at most 8,192"),
        ({"a.json": '{"text": "x"'}, "a.json: "),
        ({"b.trans.txt": "a one\na two"}, "b.trans.txt, line 2: 'a' is listed twice"),
        ({"b.trans.txt": "a one", "c.trans.txt": "a\ttwo"}, ".trans.txt: 'a' is also in another list in this folder"),
    ],
)
def test_invalid_transcripts_are_refused(files: dict[str, bytes | str], reason: str, tmp_path: Path) -> None:
    files = {"a.wav": b"x", **files}
    assert reason in refused(put(tmp_path / "folder", files))
    assert reason in refused(tar(tmp_path / "packed.tar", [*files.items()]))


def test_a_single_recording(tmp_path: Path) -> None:
    root = put(tmp_path, {"a.wav": b"0", "a.txt": "one", "b.wav": b"1", "c/d.wav": b"2", "e.pdf": b"x"})
    assert texts(root / "a.wav") == {"a": "one"}
    assert found(root / "a.wav").notes == []
    assert found(root / "b.wav").notes == [f"no recording in {root} has a text file: all texts are empty"]


def test_tars_of_a_folder_are_one_set(tmp_path: Path) -> None:
    for number in range(2):
        tar(tmp_path / f"val-{number}.tar", [(f"{number}.wav", b"x"), (f"{number}.txt", "one")])
    assert texts(tmp_path) == {"0": "one", "1": "one"}
    put(tmp_path, {"folder/2.wav": b"x"})  # as unpacked from the tars
    assert set(texts(tmp_path)) == {"2"}
    assert f"skipped in {tmp_path}: 2 names (val-0.tar, …)" in found(tmp_path).notes


def test_recordings_are_preferred_to_tars(tmp_path: Path) -> None:
    tar(put(tmp_path, {"a_cover.png": b"x", "b.wav": b"x"}) / "c.tar", [("d.wav", b"x")])
    assert set(texts(tmp_path)) == {"b"}


def test_one_text_for_several_recordings_is_reported(tmp_path: Path) -> None:
    root = put(tmp_path, {"metadata.csv": "a|one\nb|two", "x/a.wav": b"0", "y/a.wav": b"1", "y/b.wav": b"2"})
    assert texts(root) == {"x_a": "one", "y_a": "one", "b": "two"}
    assert "metadata.csv has only one text for recordings that share a name: also used for y/a.wav" in found(root).notes


def test_lists_may_have_tabs(tmp_path: Path) -> None:
    assert texts(put(tmp_path, {"a.wav": b"x", "b.trans.txt": "a\tone  two \r\n"})) == {"a": "one  two"}


def test_links(tmp_path: Path) -> None:
    root = put(tmp_path / "set", {"a.wav": b"0", "b/c.wav": b"1"})
    (root / "d.wav").symlink_to("nowhere")
    assert contents(root) == {"a": b"0", "c": b"1", "d": BROKEN_LINK}
    (root / "b" / "above").symlink_to(root)
    assert "is it a link to a folder above it?" in refused(root)
    with tarfile.open(tmp_path / "packed.tar", "w") as archive:
        archive.add(root / "a.wav", "a.wav")
        archive.add(root / "d.wav", "d.wav")
    last = contents(tmp_path / "packed.tar")["d"]
    assert isinstance(last, Missing)
    assert "a link in place of the file" in last.reason


def test_pointers_are_recognised(tmp_path: Path) -> None:
    root = put(tmp_path, {"a.wav": LFS})
    assert "a.wav in the source is a Git LFS pointer" in refused(root)
    put(tmp_path, {"b.wav": bytes(2000)})
    assert "1 of 2 recordings are small enough to be one" in found(root).notes[-1]


@pytest.mark.parametrize("dataset", ["imagenet", "coco", "cityscapes"])
def test_recordings_are_not_images(dataset: str, tmp_path: Path) -> None:
    put(tmp_path / "set", {"metadata.csv": "a|one", "wavs/a.wav": b"x"})
    (tmp_path / "tars").mkdir()
    packed = tar(tmp_path / "tars" / "val-0.tar", [("a.txt", "one"), ("a.wav", b"x")])
    for source in (tmp_path / "set", tmp_path / "set" / "wavs" / "a.wav", packed, packed.parent):
        assert refused(source, dataset) == f"{source} has recordings, not images: give --dataset speech"


def test_images_are_not_recordings(tmp_path: Path) -> None:
    put(tmp_path / "set", {"n01440764/a.JPEG": b"x"})
    (tmp_path / "tars").mkdir()
    packed = tar(tmp_path / "tars" / "val-0.tar", [("a.cls", "1"), ("a.jpg", b"x")])
    for source in (tmp_path / "set", tmp_path / "set" / "n01440764" / "a.JPEG", packed, packed.parent):
        assert refused(source) == f"{source} has images, not recordings: give --dataset imagenet, coco or cityscapes"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("LJSpeech-1.1.tar.bz2", "is compressed: unpack it (tar -xf LJSpeech-1.1.tar.bz2 -C FOLDER)"),
        ("dev.parquet", "Parquet and Arrow files of recordings are not supported"),
        ("data/dev.parquet", "Parquet and Arrow files of recordings are not supported"),
        ("notes.doc", "is neither a folder, a recording, metadata.csv nor a .tar file"),
        ("empty.tar", "cannot be read as an uncompressed tar"),
    ],
)
def test_unsupported_files_are_refused(name: str, reason: str, tmp_path: Path) -> None:
    put(tmp_path, {name: b"x" * 600})
    assert reason in refused(tmp_path / name.partition("/")[0])


def test_unsupported_tars_are_refused(tmp_path: Path) -> None:
    packed = tar(tmp_path / "a.tar", [("LJSpeech-1.1/metadata.csv", "a|one"), ("LJSpeech-1.1/wavs/a.wav", b"x")])
    assert "unpack it, and give the folder as --source" in refused(packed)
    cut = tar(tmp_path / "d.tar", [("a.wav", b"x"), ("a.txt", "one" * 300)])
    cut.write_bytes(cut.read_bytes()[:1700])
    assert "fetch it again" in refused(cut)
    twice = tar(tmp_path / "b.tar", [("a.wav", b"x"), ("a.wav", b"y")])
    assert "contains a.wav twice" in refused(twice)
    assert "no recordings in" in refused(tar(tmp_path / "c.tar", [("a.txt", "one")]))
    (tmp_path / "none").mkdir()
    assert "no recordings in" in refused(tmp_path / "none")


def test_options_for_images_are_refused(tmp_path: Path) -> None:
    put(tmp_path, {"a.wav": b"x"})
    for inputs in (Inputs(str(tmp_path), "x", None), Inputs(str(tmp_path), None, "x")):
        with pytest.raises(UsageError, match="does not apply to --dataset speech"):
            find("speech", inputs, None)


@fuzz(100)
@given(data=changed_bytes('\ufeffa|one, "|two\r\nb|three|\r\n'.encode()))
def test_metadata_from_anyone(data: bytes) -> None:
    for key, text in (outcome(lambda: read_metadata(data, "metadata.csv")) or {}).items():
        assert key
        assert "|" not in text + key


def test_real_ljspeech(data: Path) -> None:
    root = data / "speech" / "LJSpeech-1.1"
    got = found(root)
    assert (len(got.samples), got.notes) == (12, [])
    assert texts(root)["LJ001-0007"].endswith('"forty-two line Bible" of about fourteen fifty-five,')
