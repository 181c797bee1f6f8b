"""Bad input: the exit status, the one line, the good samples kept, and the failed ones in the manifest with errors."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests import ROOT
from tests.conftest import Command


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header claims to be huge. Its missing pixels must never be looked for."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A tree with two good images; the others are bad."""
    folder = tmp_path / "source" / "n01440764"
    folder.mkdir(parents=True)
    good = jpeg(300, 200)
    for name, data in {
        "good.JPEG": good,
        "tiny.JPEG": jpeg(1, 1),
        "empty.JPEG": b"",
        "half.JPEG": good[: len(good) // 2],
        "page.JPEG": b"<html>404</html>",
        "sliver.JPEG": jpeg(1, 2000),
        "bomb.JPEG": png_header(20_000, 10_000),
    }.items():
        (folder / name).write_bytes(data)
    (folder / "folder.JPEG").mkdir()
    return folder.parent


def test_good_samples_are_kept_and_failed_ones_say_why(mixed: Path, tmp_path: Path, command: Command) -> None:
    words = ["--variant", "pil_lanczos,opencv,dali", "--dataset", "imagenet", "--source", mixed]
    done = command("generate.py", *words, "--output", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "Some images failed: see the `error` column" in done.stdout
    for variant, decoder in (("pil_lanczos", "pil"), ("opencv", "opencv"), ("dali", "dali")):
        rows = pq.read_table(tmp_path / "out" / "imagenet" / variant / "manifest.parquet").to_pylist()
        status = {row["key"]: row["status"] for row in rows}
        failed = {row["key"]: row["error"] for row in rows if row["status"] == "failed"}
        assert sorted(key for key, value in status.items() if value == "ok") == ["good", "tiny"]
        assert sorted(failed) == ["bomb", "empty", "half", "page", "sliver"]
        assert all(reason.startswith(f"{decoder}: ") for reason in failed.values()), failed
        assert failed["empty"] == f"{decoder}: the file is empty"
        assert "178,956,970 pixels" in failed["bomb"]
    assert command("verify.py", tmp_path / "out").returncode == 0
    again = command("generate.py", *words, "--output", tmp_path / "out")
    assert again.returncode == 1  # failed samples still count
    assert "Nothing was left to do." in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--variant", "pil_lancsoz"],
            "unknown method 'pil_lancsoz' in variant 'pil_lancsoz': did you mean pil_",
        ),
        (["--variant", "pil+opencv"], "variant 'pil+opencv' names two decode methods, pil and opencv"),
        (["--variant", "dali_gpu"], "dali_gpu cannot run here: needs an NVIDIA GPU, and none was found"),
        (["--variant", "pil", "--reference", "dali_gpu"], "--reference: dali_gpu cannot run here: needs an NVIDIA GPU"),
        (["--variant", "pil_box", "--geometry", "identity"], "the identity geometry does not resize"),
        (["--variant", "pil", "--reference", "piil"], "--reference: unknown method 'piil'"),
        (["--variant", "pil", "--size", "0"], "'0' is not a size: give N, SHORT,LONG or WxH in pixels"),
        (["--variant", "pil", "--size", "20000"], "--size 20000 is too large"),
        (["--variant", "pil", "--source", "x"], "--source does not apply to --dataset sample"),
        (["--variant", "pil", "--size", "8,9"], "--size 8,9 does not suit crop, which takes N"),
        (["--variant", "pil", "--resize", "9"], "--resize 9 is less than --size 224, which is cut out of it"),
        (["--variant", "pil", "--crop-pct", "1.1"], "'1.1' is not a number above 0 and up to 1"),
        (["--variant", "pil", "--limit", "0"], "'0' is not a whole number above 0"),
        (["--variant", "pil", "--dataset", "imagenet"], "--dataset imagenet needs --source PATH"),
        (["--variant", "pil", "--dataset", "imagenet", "--source", "none"], "none does not exist"),
        (
            ["--variant", "pil", "--dataset", "imagenet", "--source", "ftp://b/val"],
            "--source ftp://b/val: give a path, or a URI",
        ),
        (
            ["--variant", "pil", "--output", "/dev/null/out"],
            "cannot write to /dev/null/out/sample (Not a directory)",
        ),
        (["--variant", "pil", "--output", "/proc/out"], "cannot write to /proc/out/sample"),
        ([], "Give --variant, as in --variant pil_lanczos"),
        (["--varaint", "pil"], "unrecognized arguments: --varaint pil"),
    ],
)
def test_mistakes_are_reported_in_one_line(
    arguments: list[str], message: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a machine without a GPU
    done = command("generate.py", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_and_a_folder_without_labels(tmp_path: Path, command: Command) -> None:
    (tmp_path / "val").mkdir()
    words = ["--variant", "pil", "--dataset", "imagenet", "--source", tmp_path / "val", "--output", tmp_path / "out"]
    assert "no images in" in command("generate.py", *words).stderr
    (tmp_path / "val" / "a.JPEG").write_bytes(jpeg(9, 9))
    done = command("generate.py", *words)
    assert done.returncode == 2
    assert "give a `name label` list with --labels" in done.stderr
    (tmp_path / "labels.txt").write_text("other.JPEG 3\n")
    done = command("generate.py", *words, "--labels", tmp_path / "labels.txt")
    assert done.returncode == 2
    assert "has a label for none of the 1 image: " in done.stderr
    assert not (tmp_path / "out").exists()


def test_labels_for_missing_files_and_files_without_labels(tmp_path: Path, command: Command) -> None:
    (tmp_path / "val").mkdir()
    for name in ("a.JPEG", "b.JPEG"):
        (tmp_path / "val" / name).write_bytes(jpeg(30, 20))
    (tmp_path / "labels.txt").write_text("a.JPEG 3\nc.JPEG 4\n")
    words = ["--variant", "pil", "--dataset", "imagenet", "--source", tmp_path / "val", "--output", tmp_path / "out"]
    done = command("generate.py", *words, "--labels", tmp_path / "labels.txt")
    assert done.returncode == 1
    assert "labels.txt lists c missing from the source: counted as failed" in done.stderr
    assert "labels.txt has no label for b.JPEG: labelled -1" in done.stderr
    rows = pq.read_table(tmp_path / "out" / "imagenet" / "pil_bilinear" / "manifest.parquet").to_pylist()
    assert [(row["key"], row["label"], row["status"]) for row in rows] == [
        ("a", 3, "ok"),
        ("b", -1, "ok"),
        ("c", 4, "failed"),
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 700 kB: enough for some shards, not for all."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)], check=False)
    if mount.returncode:
        pytest.skip("no right to mount a small file system: run as root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_whole_shards_and_the_run_continues(small_disk: Path, command: Command) -> None:
    words = ["--variant", "pil_lanczos", "--samples-per-shard", 1, "--workers", 1, "--output", small_disk]
    done = command("generate.py", *words)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(f"generate.py: error: no space left at {small_disk}")
    kept = list(small_disk.rglob("*.tar"))
    assert kept
    assert {path.with_suffix(".json") for path in kept} >= set(small_disk.rglob("validation-*.json"))
    assert not list(small_disk.rglob("*.partial"))
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert command("generate.py", *words).returncode == 0
    assert command("verify.py", small_disk).returncode == 0


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """The largest process of a run with only bombs stays as small as with an ordinary image."""
    folder = tmp_path / "source" / "n01440764"
    folder.mkdir(parents=True)
    for index in range(3):
        (folder / f"bomb{index}.JPEG").write_bytes(png_header(60_000, 50_000))
    words = [sys.executable, "generate.py", "--variant", "pil,opencv,ffmpeg,dali", "--dataset", "imagenet"]
    words += ["--source", str(folder.parent), "--output", str(tmp_path / "out"), "--workers", "1"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            try:
                peak = max(peak, child.memory_info().rss)
            except psutil.Error:
                continue
        time.sleep(0.02)
    assert process.returncode == 1
    assert 0 < peak < 1024**3  # one bomb decoded would be 9 GB
    assert os.path.exists(tmp_path / "out" / "imagenet" / "dali" / "manifest.parquet")
