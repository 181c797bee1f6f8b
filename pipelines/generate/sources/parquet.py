"""Parquet in the layout of the Hub's `ILSVRC/imagenet-1k`: `image` = {bytes, path}, and an integer `label`.

Listing reads the paths and labels alone. Reading a slice reads each row group that it touches once, and keeps of it
only what the slice still needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UsageError
from pipelines.generate.sources.base import UNKNOWN_LABEL, Listing, Missing, Sample, key_of, unreadable
from pipelines.generate.sources.labels import CLASSES


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files of encoded images with labels."""

    files: tuple[str, ...]
    kind: str = "imagenet-parquet"

    def listing(self) -> Listing:
        return Listing([sample for file in self.files for sample in _list(Path(file))], [])

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        wanted: dict[tuple[str, int], list[int]] = defaultdict(list)
        for sample in samples:
            file, group, row = sample.place
            wanted[file, group].append(row)
        held: dict[tuple[str, int, int], bytes | Missing] = {}
        for sample in samples:
            file, group, row = sample.place
            if sample.place not in held:
                held.update(_read_group(file, group, wanted[file, group]))
            yield held.pop(sample.place)


def _list(path: Path) -> Iterator[Sample]:
    try:
        with pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            image = file.schema_arrow.field("image").type if "image" in names else None
            inside = {field.name for field in image} if image is not None and pa.types.is_struct(image) else set()
            if "bytes" not in inside or "label" not in names:
                raise UsageError(f"{path} has no columns `image` (with `bytes` and `path`) and `label`")
            size = path.stat().st_size
            row = 0
            for group in range(file.num_row_groups):
                columns = ["image.path", "label"] if "path" in inside else ["label"]
                table = file.read_row_group(group, columns=columns)
                images = table["image"].to_pylist() if "path" in inside else [None] * table.num_rows
                paths = [(value or {}).get("path") for value in images]
                for index, (name, label) in enumerate(zip(paths, table["label"].to_pylist(), strict=True)):
                    yield _sample(path, name or f"{path.stem}-{row:08d}", label, size, (str(path), group, index))
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]})") from None


def _sample(path: Path, name: str, label: int | None, size: int, place: tuple[str, int, int]) -> Sample:
    known = UNKNOWN_LABEL if label is None else label
    if not isinstance(known, int) or not UNKNOWN_LABEL <= known < CLASSES:
        raise UsageError(f"{path}: the label of {name} is {label!r}, not one from 0 to {CLASSES - 1}")
    return Sample(key_of(name), known, f"{path.name}/{name}", size, place)


def _read_group(path: str, group: int, rows: Sequence[int]) -> dict[tuple[str, int, int], bytes | Missing]:
    try:
        with pq.ParquetFile(path) as file:
            images = file.read_row_group(group, columns=["image.bytes"])["image"].take(pa.array(rows))
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):  # Arrow's own errors, of damaged data, have none
            raise unreadable(path, error) from None
        reason = Missing(f"source: {Path(path).name} cannot be read ({str(error).splitlines()[0]})")
        return {(path, group, row): reason for row in rows}
    found: dict[tuple[str, int, int], bytes | Missing] = {}
    for row, value in zip(rows, images.to_pylist(), strict=True):
        data = (value or {}).get("bytes")
        found[path, group, row] = Missing("source: the row holds no image bytes") if data is None else data
    return found
