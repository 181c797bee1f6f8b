"""verify.py finds and names damage of every kind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.canonical import canonical_json
from tests import ROOT
from tests.conftest import Command


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Path:
    """Two variants in five shards each."""
    output = tmp_path_factory.mktemp("whole")
    words = ["--variant", "pil_lanczos,ffmpeg", "--samples-per-shard", "2", "--output", str(output)]
    generate(*words)
    return output


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of one variant's folder, to damage."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy" / "sample" / "ffmpeg"


def test_files_left_by_operating_systems_are_not_damage(whole: Path, tmp_path: Path, command: Command) -> None:
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    for folder in [output, *(path for path in output.rglob("*") if path.is_dir())]:
        (folder / "__MACOSX").mkdir()
        names = [".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._manifest.json"]
        for name in [*names, *(f"._{path.name}" for path in [*folder.iterdir()] if path.is_file())]:
            (folder / name).write_bytes(b"Mac OS X")
    assert command("verify.py", output).returncode == 0
    words = ["--variant", "pil_lanczos,ffmpeg", "--samples-per-shard", "2", "--output", output]
    assert "Nothing was left to do." in command("generate.py", *words).stdout
    (output / "sample" / "ffmpeg" / "_DS_Store").touch()
    assert "_DS_Store: extra file" in command("verify.py", output).stdout


TAR, RECORD = "validation-00001-of-00005.tar", "validation-00001-of-00005.json"


def remove(*patterns: str) -> Callable[[Path], None]:
    def unlink(folder: Path) -> None:
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()

    return unlink


def truncate(folder: Path) -> None:
    os.truncate(folder / TAR, 150_000)


def flip(folder: Path, offset: int) -> None:
    data = bytearray((folder / TAR).read_bytes())
    data[offset] ^= 1
    (folder / TAR).write_bytes(data)


def member_offset(folder: Path, name: str) -> int:
    with tarfile.open(folder / TAR) as tar:
        return tar.getmember(name).offset_data


def flip_pixels(folder: Path) -> None:
    flip(folder, member_offset(folder, "chelsea.png") + 5000)


def flip_label(folder: Path) -> None:
    flip(folder, member_offset(folder, "chelsea.cls"))


def flip_padding(folder: Path) -> None:
    flip(folder, member_offset(folder, "chelsea.cls") + 100)


def edit_summary(folder: Path) -> None:
    summary = json.loads((folder / "manifest.json").read_text())
    summary["totals"]["samples"] = 10
    (folder / "manifest.json").write_text(json.dumps(summary))


def edit_timm(folder: Path) -> None:
    text = (folder / "_info.json").read_text()
    (folder / "_info.json").write_text(text.replace('"num_samples": 9', '"num_samples": 8'))


def edit_table(folder: Path) -> None:
    table = pq.read_table(folder / "manifest.parquet")
    labels = table["label"].to_pylist()
    labels[3] = 282
    position = table.schema.get_field_index("label")
    table = table.set_column(position, table.schema.field("label"), pa.array(labels, pa.int32()))
    pq.write_table(table, folder / "manifest.parquet")


def drop_a_row(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / "manifest.parquet").slice(1), folder / "manifest.parquet")


def edit_record(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        record = json.loads((folder / RECORD).read_text())
        change(record)
        (folder / RECORD).write_bytes(canonical_json(record))

    return edit


def set_residual(record: dict[str, Any]) -> None:
    record["rows"]["residual_mean_abs"][1] = 99.5


def set_pixels(record: dict[str, Any]) -> None:
    record["rows"]["pixel_sha256"][1] = "0" * 64


def set_nonsense(record: dict[str, Any]) -> None:
    record["rows"]["label"][0] = "7"


def set_empty_recipe(record: dict[str, Any]) -> None:
    record["recipe"]["config"] = {}


def swap_tars(folder: Path) -> None:
    other = folder / TAR.replace("00001", "00002", 1)
    other.rename(folder / "aside")
    (folder / TAR).rename(other)
    (folder / "aside").rename(folder / TAR)


def extra_member(folder: Path) -> None:
    with tarfile.open(folder / TAR, "a") as tar:
        tar.addfile(tarfile.TarInfo("zebra.png"))


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (truncate, rf"{TAR}: has 150,000 bytes, but the record says [\d,]+ \(truncated\?\)"),
    (flip_pixels, rf"{TAR}, chelsea.png: (cannot be decoded|its pixels are not those of the row's pixel_sha256)"),
    (flip_label, rf"{TAR}, chelsea.cls: is not what the row says"),
    (flip_padding, rf"{TAR}: its sha256 is not the record's"),
    (remove(TAR), rf"{TAR}: missing shard: it has no tar"),
    (remove(RECORD), rf"{RECORD}: missing shard: it has no record"),
    (lambda f: shutil.copy(f / TAR, f / "validation-00005-of-00005.tar"), "validation-00005-of-00005.tar: extra file"),
    (extra_member, rf"{TAR}, zebra.png: extra member"),
    (swap_tars, rf"{TAR}: its sha256 is not the record's"),
    (edit_summary, r"manifest.json: totals.samples is 10, but the records say 9"),
    (edit_timm, r"_info.json: splits.validation.num_samples is 8, but the records say 9"),
    (edit_table, r"manifest.parquet, chelsea: label is 282, but the record says 281"),
    (drop_a_row, r"manifest.parquet: has 8 rows of 21 columns, but the records say 9 of 21"),
    (edit_record(set_residual), r"manifest.parquet, chelsea: residual_mean_abs is \S+, but the record says 99.5"),
    (edit_record(set_pixels), rf"{TAR}, chelsea.png: its pixels are not those of the row's pixel_sha256"),
    (edit_record(set_nonsense), rf"{RECORD} is not a whole record: label of 'camera' is '7', not int32"),
    (edit_record(set_empty_recipe), rf"{RECORD} is not a whole record: config has no dataset"),
    (lambda f: (f / RECORD).write_text("{"), rf"{RECORD} is not a whole record"),
    (lambda f: (f / "manifest.parquet").write_text("PAR1"), "manifest.parquet: is not Parquet"),
    (remove("manifest.json"), "unfinished: no manifest.json; run the same generate.py command again"),
    (remove("*"), "missing variant: README.md lists it, but it has no shards"),
    (remove("*.json"), "has no record of any shard"),
]


@pytest.mark.parametrize(("damage", "finding"), DAMAGES)
def test_damage_is_found_and_named(
    damage: Callable[[Path], object], finding: str, folder: Path, command: Command
) -> None:
    damage(folder)
    checked = command("verify.py", folder.parent)
    assert checked.returncode == 1, checked.stderr
    assert re.search(finding, checked.stdout), checked.stdout
    assert re.search(r"^FAILED: [\d,]+ problems? in ", checked.stdout, re.MULTILINE)
    assert "pil_lanczos" not in checked.stdout


def test_whole_shards_pass(whole: Path, command: Command) -> None:
    for path in (whole, whole / "sample", whole / "sample" / "ffmpeg"):
        checked = command("verify.py", path)
        assert checked.returncode == 0, checked.stderr
        *_, last = checked.stderr.splitlines()  # slow checks print their progress in lines before it
        assert re.fullmatch(r"(\d+) of \1 images checked, [\d.]+ img/s, \d+ s", last)
    assert checked.stdout == "OK: 5 shards of 1 variant, every image decoded and checked\n"


def test_rendering_again_finds_what_hashes_cannot(folder: Path, command: Command) -> None:
    """Shards that are consistent, but were made by something else."""
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("pil_lanczos"), folder)
    for path in folder.glob("validation-*.json"):
        record = json.loads(path.read_text())
        record["recipe"]["name"] = "ffmpeg"
        record["recipe"]["variant"] = {"decode": "ffmpeg", "resize": "pil_bilinear", "color": "none"}
        record["recipe"]["provenance"]["libraries"]["Pillow"] = "1.0"
        path.write_bytes(canonical_json(record))
    for name in ("manifest.json", "manifest.parquet", "_info.json"):
        (folder / name).unlink()
    checked = command("verify.py", folder, "--render")
    assert checked.returncode == 1
    assert "astronaut: rendered again, pixel_sha256 is" in checked.stdout
    assert re.search(r'differs from the one that made the shards in .*Pillow: "1.0" → "', checked.stdout)


def test_a_missing_gpu_is_reported_once_and_not_for_every_sample(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a machine without a GPU
    for path in folder.glob("validation-*.json"):
        record = json.loads(path.read_text())
        record["recipe"]["variant"]["decode"] = "dali_gpu"
        path.write_bytes(canonical_json(record))
    done = command("verify.py", folder.parent, "--render")
    assert done.returncode == 2
    assert "an NVIDIA GPU is needed to render ffmpeg again, and none was found" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_rendering_again_passes_on_this_machine(whole: Path, command: Command) -> None:
    checked = command("verify.py", whole, "--render")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout == "OK: 10 shards of 2 variants, every image decoded and rendered again\n"


def test_several_processes_find_what_one_finds(folder: Path, command: Command) -> None:
    for name in ("validation-00001-of-00005.tar", "validation-00003-of-00005.tar"):
        data = bytearray((folder / name).read_bytes())
        data[600] ^= 1
        (folder / name).write_bytes(data)
    words = [sys.executable, "verify.py", str(folder), "--render", "--workers", "2"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "images rendered again" in done.stderr
    assert done.stdout == command("verify.py", folder, "--render").stdout


def test_the_first_problems_are_shown_and_the_rest_counted(folder: Path, command: Command) -> None:
    for path in folder.glob("*.tar"):
        os.truncate(path, 100)
    checked = command("verify.py", folder)
    lines = checked.stdout.splitlines()
    assert len(lines) == 12
    assert re.fullmatch(r"… and \d+ more", lines[10])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: give the folder that generate.py wrote to"),
        (["ftp://host/out"], "PATH ftp://host/out: give a path, or a URI that begins with s3://"),
        (["WHOLE", "--source", "x"], "--source, --labels, --annotations and --method apply only with --render"),
        (["WHOLE", "--render", "--source", "x"], "--source does not apply to --dataset sample"),
        (["WHOLE", "--workers", "0"], "'0' is not a whole number above 0"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], message: str, whole: Path, command: Command) -> None:
    done = command("verify.py", *(str(whole) if word == "WHOLE" else word for word in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
