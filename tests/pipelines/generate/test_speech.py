"""Whole runs on recordings: what is written, that its bytes depend on nothing else, and what is found or refused."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import wave
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soxr
from numpy.typing import NDArray

import generate as entry
from generators.audio import numpy as by_numpy
from generators.audio.recording import read
from generators.audio.settings import MelSettings, Samples
from manifests.derive import derive, read_records
from manifests.mels import COLUMNS, MELS, TOLERANCE, MelRow, mel_sha256
from manifests.row import Row
from manifests.schema import Record
from manifests.verify import Problem, records_in
from pipelines.generate.again import Again, render_again
from pipelines.generate.sources.find import find
from pipelines.generate.speech.render import encode_mel
from pipelines.generate.tar import TarWriter
from pipelines.options import Inputs
from pipelines.store import Disk
from tests import ROOT
from tests.conftest import Command
from tests.generators.audio.sounds import chirp, noise, vowel
from tests.pipelines.generate.test_generate import files, wait_for

# The provenance of another kind of machine.
ELSEWHERE = {"probe_sha256": "0" * 64}
VARIANTS = ("linear", "numpy_htk", "swresample+numpy_zero_padding", "numpy_stft")
METADATA = """\
bits|Cut|cut
echo|Nothing|nothing
few|Short|short
high|Ah, 1|ah, one
low|Ah|ah
lost|Where?|where
"""


def wav(samples: Samples, rate: int, channels: int = 1) -> bytes:
    """16-bit WAV, with the same samples in every channel."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(np.rint(samples * 32767), channels).astype("<i2").tobytes())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings in LJSpeech's layout: three rates, too short, empty, cut off, and one that is missing."""
    folder = tmp_path_factory.mktemp("LJSpeech-1.1")
    (folder / "metadata.csv").write_text(METADATA)
    (folder / "wavs").mkdir()
    for key, data in {
        "bits": wav(noise(4000), 22_050)[:-100],
        "echo": b"",
        "few": wav(noise(100), 22_050),
        "high": wav(chirp(12_000, 44_100), 44_100, channels=2),
        "low": wav(vowel(4000, 8000), 8000),
        "more": wav(vowel(5000, 22_050), 22_050),
    }.items():
        (folder / "wavs" / f"{key}.wav").write_bytes(data)
    return folder


def asked(source: Path, output: Path, *more: object, variants: str = ",".join(VARIANTS)) -> list[object]:
    words = ["--dataset", "speech", "--source", source, "--variant", variants]
    return [*words, "--samples-per-shard", 3, "--output", output, *more]


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory, generate: Command) -> Path:
    """The recordings in three shards for each variant, made by two workers."""
    output = tmp_path_factory.mktemp("made")
    done = generate(*asked(source, output, "--workers", 2), status=1)
    assert "Some recordings failed: see the `error` column" in done.stdout
    return output


def rows(output: Path, variant: str) -> dict[str, MelRow]:
    records = read_records(records_in(Disk(str(output / "speech" / variant))))
    return {row.key: row for record in records for row in record.rows if isinstance(row, MelRow)}


def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar, "r:") as opened:
        return {name: file.read() for name in opened.getnames() if (file := opened.extractfile(name))}


def array(data: bytes) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.load(io.BytesIO(data), allow_pickle=False)
    return found


def test_members_have_the_libraries_output(made: Path, source: Path) -> None:
    found = members(made / "speech" / "numpy_htk" / "validation-00001-of-00003.tar")
    assert list(found) == [f"{key}.{name}" for key in ("high", "low") for name in ("mel.npy", "txt", "json")]
    recorded = read((source / "wavs" / "low.wav").read_bytes())
    resampled = soxr.resample(recorded.samples, 8000, 22_050, "HQ")
    mel = array(found["low.mel.npy"])
    assert (str(mel.dtype), mel.flags.c_contiguous) == ("float32", True)
    np.testing.assert_array_equal(mel, by_numpy.stft(resampled, MelSettings.of(22_050), htk=True))
    assert found["high.txt"] == b"ah, one"
    about = json.loads(found["high.json"])
    assert about.keys() == json.loads(found["low.json"]).keys()
    assert (about["source_rate"], about["source_channels"], about["source_samples"]) == (44_100, 2, 12_000)
    assert (about["bands"], about["frames"]) == array(found["high.mel.npy"]).shape


def test_every_recording_has_a_row_and_every_failure_a_reason(made: Path) -> None:
    table = pq.read_table(made / "speech" / "linear" / "manifest.parquet")
    assert table.schema.equals(COLUMNS)
    found = {row["key"]: row for row in table.to_pylist()}
    assert [row["shard"] for row in found.values()] == [0, 0, 0, 1, 1, 1, 2]
    assert {key: row["error"] for key, row in found.items() if row["status"] == "failed"} == {
        "bits": found["bits"]["error"],
        "echo": "source: the file is empty",
        "few": "numpy_stft: 100 samples are too few to reflect 512 of them: 513 are needed",
        "lost": found["lost"]["error"],
    }
    assert found["bits"]["error"].startswith("source: ")
    assert found["lost"]["text"] == "where"
    assert found["more"]["text"] == ""
    assert found["more"]["residual_mse"] == found["more"]["residual_frames"] == 0  # it has the rate already
    assert found["low"]["residual_mse"] > 0.1
    # Without reflection, the short one is long enough, though there is nothing to compare it with.
    padded = rows(made, "swresample+numpy_zero_padding")["few"]
    assert (padded.status, padded.frames, padded.residual_mse) == ("ok", 1, None)


def test_residuals_cover_the_frames_that_both_have(made: Path) -> None:
    def mel(variant: str, key: str) -> NDArray[np.float64]:
        (tar,) = (made / "speech" / variant).glob("validation-00001-*.tar")
        return array(members(tar)[f"{key}.mel.npy"]).astype(np.float64)

    for variant in VARIANTS[:3]:
        for key in ("high", "low"):
            row = rows(made, variant)[key]
            this, base = mel(variant, key), mel("numpy_stft", key)
            assert row.residual_frames == this.shape[1] - base.shape[1]
            common = min(this.shape[1], base.shape[1])
            difference = this[:, :common] - base[:, :common]
            assert row.residual_mse == pytest.approx(np.mean(difference**2), rel=1e-12, abs=0)
            assert row.residual_max_abs == np.abs(difference).max()


@pytest.mark.parametrize(("workers", "each"), [(1, 1), (7, 2)])
def test_bytes_do_not_depend_on_workers_or_the_size_of_tasks(
    workers: int, each: int, made: Path, source: Path, tmp_path: Path, generate: Command
) -> None:
    generate(*asked(source, tmp_path, "--workers", workers, "--images-per-task", each), status=1)
    assert files(tmp_path) == files(made)


def test_bytes_do_not_depend_on_other_variants(made: Path, source: Path, tmp_path: Path, generate: Command) -> None:
    """A later variant leaves existing ones unchanged, and the card lists both."""
    generate(*asked(source, tmp_path, variants=",".join(VARIANTS[2:])), status=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")}
    generate(*asked(source, tmp_path, variants=",".join(VARIANTS[1::-1])), status=1)
    assert files(tmp_path) == files(made)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_after_kill_9_the_same_command_continues(
    made: Path, source: Path, tmp_path: Path, generate: Command, joined: dict[str, str]
) -> None:
    words = [sys.executable, "generate.py", *map(str, asked(source, tmp_path, "--images-per-task", 1))]
    process = subprocess.Popen(words, cwd=ROOT, env=joined, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(tmp_path.rglob("validation-*.json")), process)
    process.kill()
    process.wait()
    generate(*asked(source, tmp_path), status=1)
    assert files(tmp_path) == files(made)


def refusal(words: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """The one-line refusal of a command line, after any notes about its source."""
    assert entry.main(list(map(str, words))) == 2
    captured = capsys.readouterr()
    assert not captured.out
    lines = captured.err.splitlines()
    assert [line for line in lines if "error: " in line] == lines[-1:]
    return lines[-1]


def test_another_rate_in_the_same_output_is_refused(
    made: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(made)
    words = asked(source, made, "--sample-rate", 16_000, variants="numpy_htk")
    assert "another configuration, config.mel.rate: 22050 → 16000" in refusal(words, capsys)
    assert files(made) == before


def test_a_limited_run_makes_the_first_shard_and_a_full_run_replaces_it(
    made: Path, source: Path, tmp_path: Path, generate: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(*asked(source, tmp_path, "--limit", 3, variants="linear"), status=1)
    (tar,) = tmp_path.rglob("*.tar")
    assert tar.read_bytes() == (made / "speech" / "linear" / "validation-00000-of-00003.tar").read_bytes()
    words = asked(source, tmp_path, variants="linear")
    assert "another source, config.source.samples: 3 → 7" in refusal(words, capsys)
    generate(*words, "--overwrite", status=1)
    found, expected = files(tmp_path), files(made)
    described = {f"speech/{name}" for name in ("README.md", "croissant.json", "index.html")}
    assert {path for path in found if found[path] != expected[path]} == described


def test_damage_is_found(made: Path, tmp_path: Path, command: Command) -> None:
    shutil.copytree(made / "speech" / "linear", tmp_path / "speech" / "linear")
    for name, change, by in (
        ("validation-00001-of-00003.tar", b"ah, one", b"ah, two"),
        ("validation-00000-of-00003.json", b"the file is empty", b"the file is a cat"),
        ("manifest.json", b'"failed": 4', b'"failed": 5'),
    ):
        file = tmp_path / "speech" / "linear" / name
        file.write_bytes(file.read_bytes().replace(change, by))
    bad = command("verify.py", tmp_path)
    assert bad.returncode == 1
    for name in ("validation-00001-of-00003.tar", "manifest.json", "manifest.parquet"):
        assert re.search(rf"linear/{name}[:,] .", bad.stdout)
    assert "FAILED: 5 problems in 3 shards" in bad.stdout


def moved(made: Path, folder: Path, by: float, **provenance: object) -> None:
    """A consistent copy of a variant whose values are `by` larger, as if another machine had made it."""
    records: list[Record] = []
    folder.mkdir(parents=True)
    for record in read_records(records_in(Disk(str(made)))):
        held, changed = members(made / f"{record.name}.tar"), dict[str, Row]()
        with open(folder / f"{record.name}.tar", "wb") as file:
            tar = TarWriter(file)
            for row in record.rows:
                if row.status != "ok":
                    continue
                assert isinstance(row, MelRow)
                mel = array(held[f"{row.key}.mel.npy"]) + np.float32(by)
                changed[row.key] = dataclasses.replace(row, mel_sha256=mel_sha256(mel))
                for name, text in changed[row.key].members({}).items():
                    tar.add(f"{row.key}.{name}", encode_mel(mel) if text is None else text)
            tar.close()
        recipe = dataclasses.replace(record.recipe, provenance={**record.recipe.provenance, **provenance})
        now = tuple(changed.get(row.key, row) for row in record.rows)
        records.append(Record(record.shard, record.shards, tar.size, tar.sha256, recipe, now))
        (folder / f"{record.name}.json").write_bytes(records[-1].to_bytes())
    for name, data in derive(records).files.items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ("by", "provenance", "promised"),
    [(TOLERANCE / 2, ELSEWHERE, True), (TOLERANCE * 2, ELSEWHERE, False), (TOLERANCE / 2, {}, False)],
)
def test_only_another_kind_of_machine_may_differ_and_only_slightly(
    by: float, provenance: dict[str, object], promised: bool, made: Path, source: Path, tmp_path: Path
) -> None:
    moved(made / "speech" / "linear", tmp_path / "linear", by, **provenance)
    found = find("speech", Inputs(str(source), None, None), None)
    (record,) = (
        place for place in records_in(Disk(str(tmp_path / "linear"))) if place.name.startswith("validation-00001")
    )
    steps = render_again(Again(record, found.samples[3:6], found.source, gpu=False))
    problems: list[Problem] = []
    assert list(collected(steps, problems)) == [1, 1, 1]
    assert [problem.promised for problem in problems] == [promised, promised]  # the third failed both times
    assert {problem.what for problem in problems} == {f"rendered again, its values differ by up to {by:.2g}"}


@pytest.mark.parametrize("column", MELS.residual_columns)
def test_an_edited_residual_is_found(column: str, made: Path, source: Path, tmp_path: Path) -> None:
    name = "validation-00001-of-00003"
    record = Record.read(Disk(str(made / "speech" / "linear" / f"{name}.json")))
    at, row = next((at, row) for at, row in enumerate(record.rows) if row.status == "ok")
    wrong = dataclasses.replace(row, **{column: getattr(row, column) + 1})
    rows = (*record.rows[:at], wrong, *record.rows[at + 1 :])
    (tmp_path / f"{name}.json").write_bytes(dataclasses.replace(record, rows=rows).to_bytes())
    shutil.copy(made / "speech" / "linear" / f"{name}.tar", tmp_path)
    found = find("speech", Inputs(str(source), None, None), None)
    again = Again(Disk(str(tmp_path / f"{name}.json")), found.samples[3:6], found.source, gpu=False)
    problems: list[Problem] = []
    assert len([*collected(render_again(again), problems)]) == 3
    (problem,) = problems
    assert problem.what.startswith(f"rendered again, {column} is {getattr(row, column)}, but the record says ")


def collected(steps: Generator[int, None, list[Problem]], problems: list[Problem]) -> Iterator[int]:
    problems += yield from steps


def test_rendering_again_reports_how_far_values_differ(
    made: Path, source: Path, tmp_path: Path, command: Command
) -> None:
    shutil.copytree(made / "speech" / "numpy_htk", tmp_path / "speech" / "numpy_htk")
    moved(made / "speech" / "linear", tmp_path / "speech" / "linear", TOLERANCE / 2, **ELSEWHERE)
    done = command("verify.py", tmp_path, "--render", "--source", source)
    assert done.returncode == 0, done.stdout
    assert "3 spectrograms rendered again with different last bits, within the 0.01 promised" in done.stdout
    (differs,) = [line for line in done.stdout.splitlines() if line.startswith("this machine differs from the one")]
    assert ELSEWHERE["probe_sha256"] in differs
    assert "OK: 6 shards of 2 variants, every spectrogram decoded and rendered again" in done.stdout


def test_a_dry_run_writes_nothing(source: Path, tmp_path: Path, generate: Command) -> None:
    planned = generate(*asked(source, tmp_path / "out", "--dry-run", variants="resample"))
    assert planned.stdout.splitlines()[-1].split()[:3] == ["total", "77", "33"]
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, bytes]) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "n01440764").mkdir()
    (folder / "n01440764" / "a.jpg").write_bytes(next(iter(photographs.values())))
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--size 224", "--size applies only to images: leave it out with --dataset speech"),
        ("--geometry crop", "--geometry applies only to images: leave it out"),
        ("--resize 256", "--resize applies only to images: leave it out"),
        ("--crop-pct 0.9", "--crop-pct applies only to images: leave it out"),
        ("--image-format png", "--image-format applies only to images"),
        ("--labels {source}/metadata.csv", "--labels does not apply to --dataset speech"),
        ("--annotations {source}/metadata.csv", "--annotations does not apply to --dataset speech"),
        ("--method mine=decode:cat", "--method applies only to images"),
        ("--model model.onnx", "leave it out, or --dataset speech"),
        ("--sample-rate 8000", "there is no recipe for 8,000 Hz: those for 22,050 and 16,000 Hz are published"),
        ("--reference pil", "--reference: pil is for images"),
        (
            "--variant pil_lanczos",
            "pil_lanczos is for images (the stage resize): speech has the stages resample and stft",
        ),
        ("--variant linear+soxr_vhq", "names two resample methods, linear and soxr_vhq: keep one of them"),
        ("--variant paper", "paper has no methods for recordings: name resample or stft, or all"),
        ("--variant fp16", "fp16 is noise of a model"),
        ("--source {pictures}", "has images, not recordings: give --dataset imagenet, coco or cityscapes"),
        ("--dataset sample --sample-rate 16000", "--sample-rate applies only to --dataset speech"),
        ("--dataset sample", "linear is for recordings (the stage resample): use it with --dataset speech"),
        ("--dataset imagenet --variant librosa_stft", "librosa_stft is for recordings (the stage stft)"),
        ("--dataset imagenet --variant pil", "has recordings, not images: give --dataset speech"),
    ],
)
def test_options_for_images_and_recordings_are_not_mixed(
    words: str, message: str, source: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[object] = [*words.format(source=source, pictures=pictures).split()]
    defaults: dict[str, object] = {"--dataset": "speech", "--variant": "linear", "--output": tmp_path / "out"}
    if "sample" not in given:
        defaults["--source"] = source
    for name, value in defaults.items():
        given += [] if name in given else [name, value]
    assert message in refusal(given, capsys)
    assert not (tmp_path / "out").exists()


def test_paper_is_for_images(capsys: pytest.CaptureFixture[str]) -> None:
    words: list[object] = ["--dataset", "speech", "--paper"]
    assert "--paper applies only to images: for recordings use --variant stft, resample, or all" in refusal(
        words, capsys
    )
