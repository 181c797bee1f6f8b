"""Tars of the real images equal those of every earlier version, byte for byte: `tars.json` has their digests.

They were made on an AMD EPYC with AVX-512, with the pinned versions. If they change only on another machine, so does
the table of `python -m tests.pixels`, which shows the library responsible.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from tests.conftest import Command
from tests.methods import ON_CPU

VARIANTS = ",".join(["reference", *ON_CPU])
KNOWN = json.loads(Path(__file__).with_name("tars.json").read_text())


def digests(folder: Path) -> Mapping[str, str]:
    """A digest of each variant's tars, in order."""
    found = {}
    for variant in sorted(path for path in folder.iterdir() if path.is_dir()):
        tars = [hashlib.sha256(tar.read_bytes()).hexdigest() for tar in sorted(variant.glob("*.tar"))]
        found[variant.name] = hashlib.sha256("".join(tars).encode()).hexdigest()[:16]
    return found


def test_tars_of_photographs_have_not_changed(data: Path, tmp_path: Path, generate: Command) -> None:
    words = ["--dataset", "imagenet", "--source", data / "imagenet" / "tree", "--limit", 20]
    generate("--variant", VARIANTS, *words, "--output", tmp_path)
    assert digests(tmp_path / "imagenet") == KNOWN["tree"]


def test_tars_of_coco_have_not_changed(data: Path, tmp_path: Path, generate: Command) -> None:
    words = ["--dataset", "coco", "--source", data / "coco" / "val2017", "--limit", 4]
    words += ["--annotations", data / "coco" / "annotations" / "instances_val2017.json"]
    generate("--variant", VARIANTS, *words, "--output", tmp_path)
    assert digests(tmp_path / "coco") == KNOWN["coco"]


def test_odd_files_decode_as_listed_and_their_tars_have_not_changed(
    data: Path, tmp_path: Path, command: Command
) -> None:
    """75 awkward files; `MANIFEST.tsv` says how Pillow and OpenCV handled them when they were collected."""
    with open(data / "odd" / "MANIFEST.tsv", encoding="utf-8") as file:
        known = {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}
    (tmp_path / "odd").mkdir()
    for name in known:
        shutil.copy(data / "odd" / name, tmp_path / "odd" / name)
    (tmp_path / "labels.txt").write_text("".join(f"{name} 0\n" for name in known))
    words = ["--variant", VARIANTS, "--dataset", "imagenet", "--source", tmp_path / "odd", "--samples-per-shard", 25]
    done = command("generate.py", *words, "--labels", tmp_path / "labels.txt", "--output", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    folder = tmp_path / "out" / "imagenet"
    assert digests(folder) == KNOWN["odd"]
    status = {
        decoder: {row["source_path"]: row for row in pq.read_table(folder / variant / "manifest.parquet").to_pylist()}
        for decoder, variant in (("pil", "pil_bilinear"), ("opencv", "opencv"), ("ffmpeg", "ffmpeg"), ("dali", "dali"))
    }
    for name, row in known.items():
        # Pillow would clip 16-bit gray, so it is refused here.
        pil_fails = row["PIL(mode,size)|err"].startswith("ERR") or "I;16" in row["PIL(mode,size)|err"]
        assert (status["pil"][name]["status"] == "failed") == pil_fails, name
        assert (status["opencv"][name]["status"] == "failed") == row["cv2.imread(BGR shape)|err"].startswith(
            ("None", "ERR")
        ), name
        if row["orient"] in tuple("12345678"):
            assert status["pil"][name]["source_orientation"] == int(row["orient"]), name
    for decoder, rows in status.items():
        failed = [row["error"] for row in rows.values() if row["status"] == "failed"]
        assert len(failed) < 16
        assert all(reason.startswith(f"{decoder}: ") for reason in failed)
    assert command("verify.py", folder / "opencv").returncode == 0
