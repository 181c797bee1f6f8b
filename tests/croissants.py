"""Sets as mlcroissant loads them: the reader by MLCommons, who define the format."""

from __future__ import annotations

import contextlib
import io
import tarfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

# The one thing that mlcroissant misses in a set on a disk: it is not published.
NO_DATE = 'Property "https://schema.org/datePublished" is recommended, but does not exist.'
_OF_ROWS = {"shard", "status", "error"}


@contextlib.contextmanager
def opened(file: Path | str, folder: Path) -> Iterator[tuple[Any, list[str]]]:
    """The dataset that a valid croissant.json at a path or an address describes, and the warnings about it.

    Downloads and unpacked tars go into `folder`: mlcroissant's own cache is keyed by a tar's relative path only, and
    would return the tar of another set.
    """
    import mlcroissant
    from mlcroissant._src.core import constants
    from mlcroissant._src.operation_graph.operations import extract

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # mlcroissant and rdflib use deprecated functions, and leave files open.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", ResourceWarning)
        patch.setattr(constants, "DOWNLOAD_PATH", type(constants.DOWNLOAD_PATH)(folder / "download"))
        patch.setattr(extract, "EXTRACT_PATH", type(extract.EXTRACT_PATH)(folder / "extract"))
        dataset = mlcroissant.Dataset(str(file))
        yield dataset, sorted(warning.partition("] ")[2] for warning in dataset.metadata.ctx.issues.warnings)


def records(dataset: Any, name: str) -> dict[str, dict[str, Any]]:
    """The records of a record set by key, each with its fields by their last names."""
    found = [{field.rpartition("/")[2]: value for field, value in record.items()} for record in dataset.records(name)]
    return {record.pop("key").decode(): record for record in found}


def check(root: Path, folder: Path) -> dict[str, int]:
    """Compare all records of `root/croissant.json` with the tars and tables; the number of records in each set."""
    with opened(root / "croissant.json", folder) as (dataset, missing):
        assert missing == [NO_DATE]
        counts = {}
        for records_of in dataset.metadata.record_sets:
            variant, _, member = records_of.uuid.partition("/")
            held, found = members(root / variant), records(dataset, records_of.uuid)
            assert found.keys() == held.keys()
            table = rows(root / variant)
            for key, record in found.items():
                check_members(record, held[key])
                if not member:
                    check_row(record, table[key])
            counts[records_of.uuid] = len(found)
    return counts


def members(folder: Path) -> dict[str, dict[str, bytes]]:
    """The members of a variant's samples, by key and extension."""
    found: dict[str, dict[str, bytes]] = {}
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                file = tar.extractfile(member)
                assert file
                found.setdefault(key, {})[extension] = file.read()
    return found


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {row.pop("key"): row for row in pq.read_table(folder / "manifest.parquet").to_pylist()}


def check_row(record: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    """Compare a record with a row of the table: only columns that are left out on purpose may be missing."""
    for name, value in row.items():
        if name in record:
            assert record[name] == (value.encode() if isinstance(value, str) else value)
    assert row.keys() - record.keys() <= _OF_ROWS | {"source_profile", "label"}


def check_members(record: Mapping[str, Any], held: Mapping[str, bytes]) -> None:
    """Compare a record with the members of its sample."""
    images = {"image": "png", "label_map": "seg.png"}
    for field, extension in images.items():
        if field in record:
            assert np.array_equal(pixels(record[field]), pixels(Image.open(io.BytesIO(held[extension]))))
    for field, extension in {"mel": "mel.npy", "text": "txt", "json": "json"}.items():
        if field in record:
            assert record[field] == held[extension]
    if "label" in record:
        assert str(record["label"]).encode() == held["cls"]
    assert record.keys() & {*images, "mel", "json"}


def pixels(image: Any) -> NDArray[np.uint8]:
    return np.asarray(image)
