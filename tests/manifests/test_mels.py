"""Sets of mel spectrograms: what is written can be read, and damage is refused, or found and named."""

from __future__ import annotations

import copy
import io
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from manifests import schema
from manifests.canonical import canonical_json
from manifests.derive import derive
from manifests.mels import COLUMNS, MELS, MelRow, mel_sha256
from manifests.plain import are_plain
from manifests.residual import mel_residual
from manifests.schema import SUMMARY, TABLE, ManifestError, Recipe, Record, parse_summary
from manifests.verify import check_folder, check_tar
from pipelines.generate.tar import TarWriter
from pipelines.store import Disk
from tests.conftest import Command
from tests.fuzzing import HOSTILE, make

Mel = NDArray[np.float32]

RECIPE = Recipe(
    "scipy_poly",
    {"resample": "scipy_poly", "stft": "numpy_stft"},
    {
        **{"dataset": "speech", "reference": "soxr_hq+numpy_stft", "samples_per_shard": 2},
        "source": {"kind": "ljspeech", "samples": 4, "sha256": "0" * 64},
        "mel": {"rate": 22050, "n_fft": 1024, "hop": 256, "window": 1024, "bands": 80, "low": 0.0, "high": 8000.0},
    },
    {"libraries": {"NumPy": "2"}, "cpu": {"architecture": "x86_64"}, "probe_sha256": "0" * 64},
)
# The frames of each recording and of its reference: one is longer, one shorter.
FRAMES = [(7, 7), (9, 8), (5, 6), (6, 6)]
NAMES = ["validation-00000-of-00002", "validation-00001-of-00002"]


def mels(seed: int) -> tuple[list[Mel], list[Mel]]:
    """Spectrograms of a variant and of the reference, which agree on the last recording."""
    chance = np.random.default_rng(seed)
    made, base = (
        [chance.normal(-4, 3, (80, frames)).astype(np.float32) for frames in lengths]
        for lengths in zip(*FRAMES, strict=True)
    )
    return [*made[:-1], base[-1]], base


def row(number: int, mel: Mel, reference: Mel | None) -> MelRow:
    found = None if reference is None else mel_residual(mel, reference)
    return MelRow(
        key=f"LJ001-{number:04d}",
        shard=number // 2,
        text=f"“Printing”, in\tthe only\nsense {number} – Zoë",
        source_path=f"wavs/LJ001-{number:04d}.wav",
        source_sha256=f"{number:064x}",
        source_rate=22050,
        source_channels=1,
        source_samples=256 * mel.shape[1],
        bands=mel.shape[0],
        frames=mel.shape[1],
        mel_sha256=mel_sha256(mel),
        residual_mse=found.mse if found else None,
        residual_max_abs=found.max_abs if found else None,
        residual_frames=found.frames if found else None,
        extra={"speaker": 3},
    )


def npy(mel: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, mel)
    return file.getvalue()


def write(folder: Path, change: Callable[[dict[str, bytes]], object] = dict) -> list[Record]:
    """A variant of four recordings in two shards; `change` alters the members before the tars are written."""
    made, base = mels(0)
    rows = [row(number, *pair) for number, pair in enumerate(zip(made, base, strict=True))]
    records = []
    for shard, name in enumerate(NAMES):
        members: dict[str, bytes] = {}
        for one, mel in list(zip(rows, made, strict=True))[2 * shard : 2 * shard + 2]:
            texts = {extension: text or b"" for extension, text in one.members(RECIPE.config).items()}
            members |= {f"{one.key}.{extension}": data for extension, data in {**texts, "mel.npy": npy(mel)}.items()}
        change(members)
        with open(folder / f"{name}.tar", "wb") as file:
            tar = TarWriter(file)
            for member, data in members.items():
                tar.add(member, data)
            tar.close()
        records.append(Record(shard, 2, tar.size, tar.sha256, RECIPE, tuple(rows[2 * shard : 2 * shard + 2])))
        (folder / f"{name}.json").write_bytes(records[-1].to_bytes())
    for name, data in derive(records).files.items():
        (folder / name).write_bytes(data)
    return records


def problems(folder: Path) -> list[str]:
    place = Disk(str(folder))
    found = [*check_folder(place), *(problem for name in NAMES for problem in check_tar(place / f"{name}.json"))]
    return [str(problem) for problem in found]


def test_a_set_survives_a_round_trip(tmp_path: Path) -> None:
    records = write(tmp_path)
    assert [Record.read(Disk(str(tmp_path / f"{name}.json"))) for name in NAMES] == records
    table = pq.read_table(tmp_path / TABLE)
    assert table.schema.equals(COLUMNS)
    assert table.to_pylist() == [
        {name: getattr(row, name) for name in COLUMNS.names} for record in records for row in record.rows
    ]
    summary = parse_summary((tmp_path / SUMMARY).read_bytes(), SUMMARY)
    assert summary == derive(records).summary
    assert summary["mel"] == RECIPE.config["mel"]
    assert "geometry" not in summary
    assert problems(tmp_path) == []


def test_the_summarys_residuals_cover_all_values() -> None:
    """A recording that failed, or that cannot be compared, contributes none."""
    made, base = mels(1)
    rows = [row(number, *pair) for number, pair in enumerate(zip(made, base, strict=True))]
    rows.append(row(4, made[0], None))
    rows.append(replace(row(5, made[0], None), status="failed", error="source: empty", mel_sha256=""))
    halves = [Record(shard, 2, 0, "0" * 64, RECIPE, tuple(rows[shard::2])) for shard in (0, 1)]
    found = derive(halves).summary["residual"]
    both = [(mine[:, : min(of)], theirs[:, : min(of)]) for mine, theirs, of in zip(made, base, FRAMES, strict=True)]
    differences = [mine.astype(np.float64) - theirs for mine, theirs in both]
    assert found.pop("mse") == pytest.approx(np.mean([np.square(values).mean() for values in differences]), rel=1e-15)
    assert found == {
        "compared": 4,
        "max_abs": np.abs(np.concatenate([values.ravel() for values in differences])).max(),
        "frames": 2,
        "degenerate": False,
    }


def test_variants_are_degenerate_if_all_values_and_lengths_agree() -> None:
    made, _ = mels(2)

    def degenerate(*pairs: tuple[Mel, Mel]) -> object:
        rows = tuple(row(number, *pair) for number, pair in enumerate(pairs))
        return derive([Record(0, 1, 0, "0" * 64, RECIPE, rows)]).summary["residual"]["degenerate"]

    same, other = (made[0], made[0]), (made[0], np.nextafter(made[0], np.float32(9)))
    assert degenerate(same, (made[1], made[1])) is True
    assert degenerate(same, other) is False
    assert degenerate(same, (made[1][:, :-1], made[1])) is False
    assert degenerate() is None


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("text", None, "text of 'LJ001-0000' is None, not string"),
        ("text", ["a"], r"text of 'LJ001-0000' is \['a'\], not string"),
        ("source_rate", 22050.5, "source_rate of 'LJ001-0000' is 22050.5, not int32"),
        ("source_samples", 2**31, "source_samples of 'LJ001-0000' is 2147483648, not int32"),
        ("frames", None, "frames of 'LJ001-0000' is None, not int32"),
        ("bands", True, "bands of 'LJ001-0000' is True, not int32"),
        ("residual_mse", "0.5", "residual_mse of 'LJ001-0000' is '0.5', not double"),
        ("residual_frames", 0.5, "residual_frames of 'LJ001-0000' is 0.5, not int32"),
        ("mel_sha256", "", "LJ001-0000 is neither made, with a mel_sha256, nor failed"),
        ("mel_sha256", "A" * 64, "LJ001-0000 is neither made, with a mel_sha256, nor failed"),
        ("status", "failed", "LJ001-0000 is neither made, with a mel_sha256, nor failed"),
        ("key", "LJ001-0001", "it has the same key twice"),
        ("key", "../LJ001", "the sample '../LJ001' is invalid"),
        ("key", "k" * 93, "the sample 'k+' is invalid"),  # with .mel.npy, more than fits into a tar's header
        ("source_path", "a\x1b[31m.wav", "the sample 'LJ001-0000' is invalid"),
        ("extra", [], "the sample 'LJ001-0000' is invalid"),
    ],
)
def test_a_damaged_cell_is_refused_by_name(column: str, cell: object, message: str, tmp_path: Path) -> None:
    value = json.loads(write(tmp_path)[0].to_bytes())
    value["rows"][column][0] = cell
    with pytest.raises(ManifestError, match=message):
        Record.from_bytes(canonical_json(value), "record")


def test_the_longest_key_fits_into_a_tar_and_a_longer_one_does_not(tmp_path: Path) -> None:
    first, _ = write(tmp_path)
    key = "k" * MELS.longest_key
    record = replace(first, rows=(replace(first.rows[0], key=key), *first.rows[1:]))
    assert Record.from_bytes(record.to_bytes(), "record") == record
    TarWriter(io.BytesIO()).add(f"{key}.mel.npy", b"")
    with pytest.raises(ValueError, match="name is too long"):
        TarWriter(io.BytesIO()).add(f"{key}k.mel.npy", b"")


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for step in path[:-1]:
            value = value[step]
        del value[path[-1]]

    return change


def replaced(cell: object, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = cell

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("rows", "text"), "text"),
        (without("recipe", "config", "mel"), "config has no mel"),
        (without("recipe", "config", "mel", "hop"), "mel has no hop"),
        (replaced(-1, "recipe", "config", "mel", "bands"), "bands is -1"),
        (replaced("8k", "recipe", "config", "mel", "high"), "high is '8k'"),
        (without("recipe", "variant", "stft"), "variant has no stft"),
        (replaced("pil", "recipe", "variant", "decode"), "it has a variant of 3 stages"),
        (replaced("imagenet", "recipe", "config", "dataset"), "variant has no decode"),
    ],
)
def test_a_record_of_another_shape_is_refused(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    value = json.loads(write(tmp_path)[0].to_bytes())
    change(value)
    with pytest.raises(ManifestError, match=message):
        Record.from_bytes(canonical_json(value), "record")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("mel"), "it has no mel"),
        (without("mels_sha256"), "it has no mels_sha256"),
        (without("residual", "mse"), "residual has no mse"),
        (replaced(None, "residual", "mse"), "its parts contradict one another"),
        (replaced(0, "residual", "compared"), "its parts contradict one another"),
        (replaced(16000, "config", "mel", "rate"), "its parts contradict one another"),
    ],
)
def test_a_summary_of_another_shape_is_refused(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    write(tmp_path)
    value = json.loads((tmp_path / SUMMARY).read_bytes())
    change(value)
    with pytest.raises(ManifestError, match=message):
        parse_summary(json.dumps(value).encode(), SUMMARY)


def test_cells_that_pass_by_column_are_valid_by_row(tmp_path: Path) -> None:
    """Whatever replaces a cell; and an ordinary record passes, so the fast path is the one that is usually taken."""
    columns = write(tmp_path)[0].by_column
    assert are_plain(columns.cells, columns.schema, MELS)
    plain = 0
    for name in MELS.fields:
        for odd in [*HOSTILE, True, 2**31, 1.5, "a.b", "A" * 64, "\u0301" * 60]:
            cells = {**columns.cells, name: [columns.cells[name][0], copy.deepcopy(odd)]}
            if are_plain(cells, columns.schema, MELS):
                schema._check_rows(MELS.rows(cells), MELS)
                plain += 1
    assert plain  # a hostile text is a valid transcript


FIRST = "LJ001-0000"


def altered(extension: str, change: Callable[[bytes], bytes]) -> Callable[[dict[str, bytes]], object]:
    def alter(members: dict[str, bytes]) -> None:
        if (name := f"{FIRST}.{extension}") in members:
            members[name] = change(members[name])

    return alter


def moved_to_the_end(members: dict[str, bytes]) -> None:
    if (name := f"{FIRST}.txt") in members:
        members[name] = members.pop(name)


def one_more(members: dict[str, bytes]) -> None:
    if f"{FIRST}.txt" in members:
        members["zebra.txt"] = b""


def values(change: Callable[[Mel], NDArray[Any]]) -> Callable[[dict[str, bytes]], object]:
    return altered("mel.npy", lambda data: npy(change(np.load(io.BytesIO(data)))))


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (values(lambda mel: np.nextafter(mel, np.float32(99))), "mel.npy: its values are not those of the row's"),
        (values(lambda mel: mel[:, :-1]), "mel.npy: has 80 bands and 6 frames, but the row says 80 and 7"),
        (values(lambda mel: mel.T), "mel.npy: has 7 bands and 80 frames, but the row says 80 and 7"),
        (values(lambda mel: mel.astype(np.float64)), "mel.npy: cannot be decoded .it is float64 of shape"),
        (values(lambda mel: mel.astype(">f4")), "mel.npy: cannot be decoded .it is >f4 of shape"),
        (values(lambda mel: mel[None]), r"mel.npy: cannot be decoded .it is float32 of shape \(1, 80, 7\)"),
        (altered("mel.npy", lambda data: data[:-4]), "mel.npy: cannot be decoded"),
        (altered("mel.npy", lambda data: pickle.dumps(data)), "mel.npy: cannot be decoded"),
        (altered("txt", lambda text: text.upper()), "txt: is not what the row says"),
        (altered("json", lambda text: text.replace(b"22050", b"16000")), "json: is not what the row says"),
        (lambda members: members.pop(f"{FIRST}.txt", None), "expected LJ001-0000.txt, found LJ001-0000.json"),
        (moved_to_the_end, "expected LJ001-0000.txt, found LJ001-0000.json"),
        (one_more, "zebra.txt: extra member"),
    ],
)
def test_an_altered_member_is_found(change: Callable[[dict[str, bytes]], object], finding: str, tmp_path: Path) -> None:
    """Even if the tars have the hashes in their records."""
    write(tmp_path, change)
    (problem,) = problems(tmp_path)
    assert re.search(finding, problem), problem


def test_verify_counts_spectrograms(tmp_path: Path, command: Command) -> None:
    """Whatever the set's folder is called."""
    write(tmp_path)
    checked = command("verify.py", tmp_path)
    assert checked.stdout == "OK: 2 shards of 1 variant, every spectrogram decoded and checked\n"
    assert checked.stderr.startswith("4 of 4 spectrograms checked, ")


def test_verify_counts_samples_if_there_are_sets_of_both_kinds(tmp_path: Path, command: Command) -> None:
    (tmp_path / "speech" / "scipy_poly").mkdir(parents=True)
    write(tmp_path / "speech" / "scipy_poly")
    make(tmp_path, "pil_lanczos")
    checked = command("verify.py", tmp_path)
    assert re.fullmatch(r"OK: \d+ shards of \d variants, every sample decoded and checked\n", checked.stdout)
    assert re.search(r"(\d+) of \1 samples checked, [\d.]+ samples/s, ", checked.stderr)


def test_an_altered_table_is_found_by_its_cell(tmp_path: Path) -> None:
    write(tmp_path)
    table = pq.read_table(tmp_path / TABLE)
    texts = ["something else", *table["text"].to_pylist()[1:]]
    at = table.schema.get_field_index("text")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(texts)), tmp_path / TABLE)
    (problem,) = problems(tmp_path)
    assert f"{TABLE}, LJ001-0000: text is something else, but the record says “Printing”" in problem
