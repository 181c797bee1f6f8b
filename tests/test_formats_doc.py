"""docs/formats.md, score.md, detection.md, limits.md and clusters.md have the names and numbers of the code."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from generators.geometry import GEOMETRIES, MAX_PIXELS, MAX_RESIZED_PIXELS
from manifests.images import COLUMNS, LABEL_MAP, LABEL_MAP_SHA256, ImageRow
from manifests.mels import TOLERANCE
from manifests.schema import CARD, MOST_SHARDS, SUMMARY, TABLE, TIMM
from manifests.untrusted import LARGEST_JSON, MOST_ROWS
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.model.preprocessing import read_preprocessing
from pipelines.evaluate.predictions import TABLES
from pipelines.generate.croissant import CROISSANT
from pipelines.generate.datasets import DATASETS, parse_size
from pipelines.page.write import PAGE
from pipelines.store import retry
from pipelines.work import lanes
from tests.conftest import Command, Once
from tests.documents import blocks, commands, made, parse, read, table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMATS, SCORE, CLUSTERS = "docs/formats.md", "docs/score.md", "docs/clusters.md"


@pytest.fixture(scope="module")
def sample(once: Once, generate: Command) -> Path:
    return made(once, generate) / "out" / "sample"


def row(**extra: str) -> ImageRow:
    about = {"source_path": "", "source_sha256": "", "source_width": 1, "source_height": 1, "source_orientation": 1}
    return ImageRow(key="key", shard=0, label=0, extra=extra, **about)  # type: ignore[arg-type] # of two types


def names(text: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", text)


def test_the_table_of_columns_is_the_schema() -> None:
    assert [name for columns, _ in table(FORMATS, "columns") for name in names(columns)] == COLUMNS.names


def test_the_fields_of_json_are_those_of_a_row() -> None:
    (stated,) = re.findall(r"^Every `json` has the same keys, never null: (.*?)\.", read(FORMATS), re.DOTALL | re.M)
    assert sorted(names(stated)) == sorted(row().member())
    assert f"`{LABEL_MAP_SHA256}`" in read(FORMATS)


def test_the_members_are_those_of_each_dataset() -> None:
    rows = {tuple(names(member)): datasets for member, datasets, _ in table(FORMATS, "member")}
    assert [*rows] == [("png", "webp", "npy"), (LABEL_MAP,), ("cls",), ("json",)]
    for dataset in DATASETS:
        if dataset != "speech":
            config = {"dataset": dataset, "image_format": "png"}
            one = row(**{LABEL_MAP_SHA256: ""}) if dataset == "cityscapes" else row()
            asked = ("images", "all", dataset)
            expected = [name for name, where in rows.items() if any(word in where for word in asked)]
            assert [name[0] for name in expected] == list(one.members(config))


def test_the_fields_of_the_manifest_are_those_that_are_written(sample: Path) -> None:
    variant = sample / "pil_lanczos"
    written = json.loads((variant / SUMMARY).read_text())
    stated = [name for fields, _ in table(FORMATS, "field") for name in names(fields)]
    assert sorted(stated) == sorted(written)
    listed = re.findall(r"^OUT/imagenet/(?:<variant>/)?(\S+) ", blocks(FORMATS, "text")[0], re.MULTILINE)
    shard = "validation-00000-of-00050"
    assert listed[:3] == [PAGE, CARD, CROISSANT]
    assert listed[3:] == [f"{shard}.tar", f"{shard}.json", TABLE, SUMMARY, TIMM, "run.log"]
    found = {path.name.replace("-of-00001", "-of-00050") for path in variant.iterdir()}
    found |= {path.name for path in sample.iterdir() if path.is_file()}
    assert set(listed) <= found
    assert pq.read_schema(variant / TABLE).names == COLUMNS.names


def test_statuses_are_those_of_the_errors() -> None:
    rows = {row[0]: row[1] for row in table(FORMATS, "status")}
    assert list(rows) == ["0", "1", "2", "3"]
    assert "usage" in rows[str(UsageError.exit_status)]
    assert "the run failed" in rows[str(RunError.exit_status)]


def test_the_bounds_are_those_of_the_readers() -> None:
    text = " ".join(read(FORMATS).split())
    assert f"manifest of {LARGEST_JSON // 2**20} MiB, {MOST_SHARDS:,} shards of {MOST_ROWS:,} samples" in text
    assert f"`verify.py --render` accepts up to {TOLERANCE:g}" in text
    for number in (MAX_PIXELS, MAX_RESIZED_PIXELS):
        assert f"{number:,}" in read("docs/limits.md")


def test_the_job_is_a_command_of_ours() -> None:
    (job,) = [line for line in commands(CLUSTERS) if line.startswith("ray job submit")]
    given = parse(job.partition(" -- python ")[2].split())
    assert given.source.startswith("s3://")
    assert given.output.startswith("s3://")
    text = " ".join(read(CLUSTERS).split())
    assert "retried for five minutes" in text
    assert retry.PATIENCE == 5 * 60
    assert "at most five times" in text
    assert lanes._ATTEMPTS == 5


def test_the_sizes_for_detection_are_sizes() -> None:
    for geometry, sizes, _ in table("docs/detection.md", "geometry"):
        (name,) = names(geometry)
        assert GEOMETRIES[name]
        first = re.findall(r"`([\d,]+)`", sizes)[0]
        assert DATASETS["coco"].size(name) == parse_size(first)
        assert ("default" in sizes) == (DATASETS["coco"].geometry == name)


def test_the_table_of_predictions_has_what_is_read() -> None:
    rows = {dataset: files for dataset, files, _ in table(SCORE, "shards")}
    assert set(rows) == DATASETS.keys() - {"sample", "speech"}
    assert set(names(rows["imagenet"])) <= set(TABLES)


def test_the_toml_says_all_that_a_model_needs(tmp_path: Path) -> None:
    (text,) = blocks(SCORE, "toml")
    (tmp_path / "mobilenetv2.toml").write_text(text)
    (tmp_path / "mobilenetv2.onnx").touch()
    found = read_preprocessing(tmp_path / "mobilenetv2.onnx", {})
    assert (found.mean, found.channels) == (tuple(tomllib.loads(text)["mean"]), "rgb")
