"""`outcomes.parquet`: what a report keeps about each image, so that two models can be compared on the same ones.

There is a column for the reference, for each variant that differs from it at one stage, and for the combined variant.
Top-1 has a row for each scored image, with its key and whether the prediction is right. mAP and mIoU, which no single
image has, have a row for each resample of the images, with the metric as a share; reports with the same seed have the
same resamples. Refuses a file that cannot be a report's.
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
from pipelines.evaluate.results import Results
from pipelines.store import Place
from pipelines.style.stages import COMBINED
from pipelines.text import first_line

OUTCOMES = "outcomes.parquet"
_KEY = "key"
# 50,000 images and 500 variants take 8 MB; 25,000 resamples take 50.
_LARGEST = 2**28
_MOST_VALUES = 10**9


class Outcomes(NamedTuple):
    """`keys` are the scored images, in order, for top-1, and None for other metrics.

    `variants` has arrays of shape (images,) and dtype bool, or of shape (resamples,) and dtype float32.
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
    # Floats that are close share their first bytes.
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
    """The outcomes that the report in a folder keeps; None if its version kept none.

    Raises UsageError for a file that has none.
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
        raise ValueError("it has more values than any report has")
    table = file.read()
    keys = table.column(_KEY).to_pylist() if _KEY in table.column_names else None
    table = table.drop_columns([_KEY]) if keys is not None else table
    wanted = pa.bool_() if keys is not None else pa.float32()
    strange = next((field for field in table.schema if field.type != wanted), None)
    if strange is not None or any(column.null_count for column in table.columns):
        raise ValueError(f"not every column is {wanted} without gaps")
    return Outcomes(keys, {name: table.column(name).to_numpy() for name in table.column_names})
