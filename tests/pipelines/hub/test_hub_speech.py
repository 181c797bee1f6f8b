"""Sets of mel spectrograms on the Hub: read by way of the card, pulled and verified, and rebuilt from manifests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow.parquet as pq

from manifests.mels import MelRow
from manifests.schema import Record
from tests.conftest import SPOKEN
from tests.hub import Hub
from tests.pipelines.hub.conftest import NAME, User, altered, card_of, files, good, put, refusal, sha256, shards_of

STREAM = """
import hashlib, json, sys
import numpy as np
from datasets import get_dataset_config_names, load_dataset

found = {}
for name in get_dataset_config_names(sys.argv[1]):
    found[name] = {}
    for one in load_dataset(sys.argv[1], name, split="validation", streaming=True):
        mel = np.array(one["mel.npy"], np.float32)
        found[name][one["__key__"]] = [one["txt"], mel.shape, hashlib.sha256(mel.tobytes()).hexdigest()]
print(json.dumps(found))
"""


def test_datasets_reads_what_was_pushed_and_a_pull_is_whole(hub: Hub, user: User, spoken: Path, tmp_path: Path) -> None:
    root = spoken / "out" / "speech"
    good(user.push(root))
    card = card_of(hub.repo(NAME))
    assert card.data.to_dict()["task_categories"] == ["text-to-speech"]
    assert [config["config_name"] for config in card.data.to_dict()["configs"]] == list(SPOKEN)
    assert "80 bands of 0 to 8000 Hz × frames, natural logarithm; 22,050 Hz" in card.text
    assert "| `numpy_htk` | soxr_hq | numpy_htk | 6 | 0 |" in card.text
    assert "synthetic" in card.text
    assert "image" not in card.text
    rows = {name: pq.read_table(root / name / "manifest.parquet").to_pylist() for name in SPOKEN}
    expected = {
        name: {row["key"]: [row["text"], [row["bands"], row["frames"]], row["mel_sha256"]] for row in found}
        for name, found in rows.items()
    }
    assert json.loads(good(user.run("-W", "ignore", "-c", STREAM, NAME))) == expected
    pulled = tmp_path / "pulled"
    assert "6 of 6 recordings pulled and checked" in user.pull("numpy_htk", pulled).stderr
    assert shards_of(files(pulled / "speech"), "numpy_htk") == shards_of(files(root), "numpy_htk")


def with_other_values(record: Record) -> Record:
    """The record, with other values for the second sample of the first shard."""
    rows = list(record.rows)
    if not record.shard:
        assert isinstance(rows[1], MelRow)
        rows[1] = dataclasses.replace(rows[1], mel_sha256=sha256(b""))
    return dataclasses.replace(record, rows=tuple(rows))


def test_the_same_set_is_rebuilt_from_the_recordings(hub: Hub, user: User, spoken: Path, tmp_path: Path) -> None:
    root = spoken / "out" / "speech"
    good(user.push(root, "--manifests-only", "--variant", "numpy_htk", "--public"))
    text = card_of(hub.repo(NAME)).text
    assert "**Manifests only: no values.** Anyone who has the source recordings can make the same set" in text
    assert not [path for path in hub.repo(NAME).files() if path.endswith(".tar")]
    assert "but no values: use hub.py rebuild" in refusal(user.pull("numpy_htk", tmp_path / "pulled"))
    shown = good(user.rebuild("numpy_htk", tmp_path / "rebuilt"))
    assert "numpy_htk: every value agrees, in all 6 samples; the tars are byte for byte the same." in shown
    assert shards_of(files(tmp_path / "rebuilt" / "speech"), "numpy_htk") == shards_of(files(root), "numpy_htk")
    put(hub.repo(NAME), "main", altered(root / "numpy_htk", with_other_values))
    done = user.rebuild("numpy_htk", tmp_path / "rebuilt")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "numpy_htk: 1 of 6 samples differ:\n  phrase_2: different mel_sha256" in done.stdout
    assert "hashes do not show by how much: up to 0.01 is promised" in done.stdout
