"""The card on the Hub describes the repository, and lets tools that do not know this project read it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests import ROOT
from tests.hub import Hub
from tests.hub.state import Repo
from tests.pipelines.hub.conftest import COMBINED, NAME, VARIANTS, User, card_of, good, hold

STREAM = """
import hashlib, json, sys
from datasets import get_dataset_config_names, load_dataset

repo = sys.argv[1]
found = {}
for name in get_dataset_config_names(repo):
    samples = load_dataset(repo, name, split="validation", streaming=True)
    found[name] = {one["__key__"]: [one["cls"], hashlib.sha256(one["png"].tobytes()).hexdigest()] for one in samples}
print(json.dumps(found))
"""

URLS = """
import hashlib, json, sys
import webdataset as wds

for url in sys.argv[1:]:
    shards = wds.WebDataset(url, shardshuffle=False).decode("rgb8").to_tuple("__key__", "cls", "png")
    print(json.dumps({key: [label, hashlib.sha256(pixels.tobytes()).hexdigest()] for key, label, pixels in shards}))
"""


def expected(folder: Path) -> dict[str, list[Any]]:
    """Label and hash of pixels by key, from a variant's table."""
    rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    return {row["key"]: [row["label"], row["pixel_sha256"]] for row in rows}


def test_the_metadata_names_every_variant(published: Repo) -> None:
    data = card_of(published).data.to_dict()
    configs = {config["config_name"]: config["data_files"] for config in data["configs"]}
    assert configs == {name: [{"split": "validation", "path": f"{name}/validation-*.tar"}] for name in VARIANTS}
    assert {"license", "pretty_name", "size_categories"} <= set(data)
    assert data["size_categories"] == ["n<1K"]


def test_the_text_describes_the_variants(published: Repo, made: Path) -> None:
    text, total = card_of(published).text, 0
    for name in VARIANTS:
        summary = json.loads((made / name / "manifest.json").read_bytes())
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1:4] == [summary["variant"][stage] for stage in ("decode", "resize", "color")]
        assert {"9", f"{summary['residual']['mean_abs']:.3f}", f"{summary['residual']['changed']:.1%}"} <= set(cells)
        total += summary["totals"]["bytes"]
        for library, version in summary["provenance"]["libraries"].items():
            assert f"| {library} | {version} |" in text
    assert f"{total / 1e6:.1f} MB" in text
    (alike,) = [line for line in text.splitlines() if "same pixels" in line.lower() and "opencv" in line]
    assert "pil_bilinear" in alike
    assert "pil_lanczos" not in alike
    for word in ("arxiv.org/abs/2307.00280", "@", "verify.py", "score.py", f"hub.py pull {NAME}", "CC BY 2.0"):
        assert word in text
    assert f'load_dataset("{NAME}", ' in text


def test_the_card_s_commands_run(hub: Hub, user: User, published: Repo) -> None:
    hold(hub, published)
    text = card_of(published).text
    recipe, commands = (re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)[0] for language in ("python", "sh"))
    assert good(user.run("-W", "ignore", "-c", recipe + 'print(next(iter(shards))["__key__"])')).strip()
    pull, verify, score = (line.split()[1:] for line in commands.splitlines())
    for script, *words in (pull, verify):
        good(user.run(ROOT / script, *words))
    (user.folder / "predictions").mkdir()
    # The shards are complete, including the reference: only the predictions are missing.
    assert "no predictions" in user.run(ROOT / score[0], *score[1:]).stderr


def test_the_card_of_manifests_says_how_to_rebuild(bare: Repo) -> None:
    card = card_of(bare)
    assert f"hub.py rebuild {NAME}" in card.text
    assert "load_dataset" not in card.text
    assert ".tar" not in json.dumps(card.data.to_dict())
    assert [one["data_files"][0]["split"] for one in card.data.to_dict()["configs"]] == ["train"]


def test_datasets_streams_every_sample_of_every_variant(hub: Hub, user: User, published: Repo, made: Path) -> None:
    hold(hub, published)
    found = json.loads(good(user.run("-W", "ignore", "-c", STREAM, NAME)))
    assert found == {name: expected(made / name) for name in VARIANTS}


def test_webdataset_reads_urls(hub: Hub, user: User, published: Repo, made: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("the curl program is not installed: apt-get install curl")
    repo = hold(hub, published)
    variants = ("pil_lanczos", COMBINED)

    def read(start: str, **variables: str) -> list[dict[str, list[Any]]]:
        urls = [f"{start}{variant}/validation-{{00000..00002}}-of-00003.tar" for variant in variants]
        return [json.loads(line) for line in good(user.run("-c", URLS, *urls, **variables)).splitlines()]

    samples = [expected(made / variant) for variant in variants]
    assert read(f"hf://datasets/{NAME}/") == samples
    repo.private = False
    assert read(f"{hub.url}/datasets/{NAME}/resolve/main/", HF_TOKEN="") == samples


def test_the_clients_own_download_is_whole(hub: Hub, user: User, published: Repo, tmp_path: Path) -> None:
    hold(hub, published)
    program = shutil.which("hf", path=str(Path(sys.executable).parent))
    assert program
    folder = tmp_path / "downloaded"
    words = ["download", NAME, "--repo-type", "dataset", "--include", "pil_lanczos/*", "--local-dir", folder]
    good(user.run(program, *words))
    assert "OK: 3 shards of 1 variant" in good(user.verify(folder))
