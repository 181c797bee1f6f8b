"""`outcomes.parquet`: what a report keeps of each image, so that two models can be compared on the same ones.

A column for each variant, the reference first: of those that differ from it at one stage, and of the combined one.
Top-1 has a row for each scored image, with its key and whether it is right. mAP and mIoU, which are of no image alone,
have a row for each resample of the images, with the metric in it as a share: reports with one seed have drawn alike.
Refuses a file that is of another report than the one that it lies beside.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.results import COMBINED, Results
from pipelines.store import Place
from pipelines.text import first_line

OUTCOMES = "outcomes.parquet"
_KEY = "key"
# Of 50,000 images and 500 variants there are 8 MB; of 25,000 resamples, 50.
_LARGEST = 2**28
_MOST_VALUES = 10**9


class Outcomes(NamedTuple):
    """`keys` are the scored images of top-1, in order, and None of other metrics.

    `variants` has a bool for each image, or a float32 for each resample: arrays of shape (images or resamples,).
    """

    keys: list[str] | None
    variants: Mapping[str, NDArray[Any]]


def outcomes(results: Results) -> bytes:
    """The file's content."""
    combined = results.combined.name if results.combined else ""
    kept = [line for line in results.lines if line.stage != COMBINED or line.name == combined]
    columns: dict[str, Any] = {_KEY: list(results.keys)} if results.metric == "top1" else {}
    for line in (results.reference, *kept):
        columns[line.name] = line.basis if line.basis.dtype == bool else line.basis.astype(np.float32)
    buffer = io.BytesIO()
    # Floats close to each other have their first bytes in common.
    split = [name for name, values in columns.items() if name != _KEY and values.dtype != bool]
    pq.write_table(
        pa.table(columns),
        buffer,
        compression="zstd",
        use_dictionary=False,
        use_byte_stream_split=split or False,
        store_schema=False,
    )
    return buffer.getvalue()


def read_outcomes(folder: Place) -> Outcomes | None:
    """What the report in a folder keeps; None where it is of a time when none did.

    Raises UsageError for a file that is no such thing.
    """
    place = folder / OUTCOMES
    try:
        return _read(place.read(_LARGEST))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{place} cannot be read ({first_line(error)}): score the model again") from None


def _read(data: bytes) -> Outcomes:
    file = pq.ParquetFile(io.BytesIO(data))
    if file.metadata.num_rows * file.metadata.num_columns > _MOST_VALUES:
        raise ValueError("it has more values than any report")
    table = file.read()
    keys = table.column(_KEY).to_pylist() if _KEY in table.column_names else None
    table = table.drop_columns([_KEY]) if keys is not None else table
    wanted = pa.bool_() if keys is not None else pa.float32()
    strange = next((field for field in table.schema if field.type != wanted), None)
    if strange is not None or any(column.null_count for column in table.columns):
        raise ValueError(f"not every column is whole and {wanted}")
    return Outcomes(keys, {name: table.column(name).to_numpy() for name in table.column_names})
