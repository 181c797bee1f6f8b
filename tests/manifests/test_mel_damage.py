"""Damage in sets of mel spectrograms is found and named."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from manifests.schema import TABLE
from tests.conftest import Command
from tests.fuzzing import make
from tests.manifests.mel_sets import Mel, npy, problems, write

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
