"""Arrow files of data sets, which are found, but not read: how to convert them."""

from __future__ import annotations

from pipelines.store import Place

ARROW = ".arrow"


def arrow_as_parquet(place: Place) -> str:
    """The message about Arrow files (of `save_to_disk`, or the cache of `datasets`), with how to convert them."""
    files = place.path if place.suffix == ARROW else f"{place.path}/*{ARROW}"
    return (
        f"{place} has a data set in Arrow files, as `datasets` stores it: write it as Parquet with python -c "
        f'"import glob, pyarrow as pa, pyarrow.parquet as pq; pq.write_table(pa.concat_tables('
        f"pa.ipc.open_stream(pa.memory_map(name)).read_all() for name in sorted(glob.glob({files!r}))), "
        "'validation.parquet', row_group_size=1000)\", and give that file as --source"
    )
