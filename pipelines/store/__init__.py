"""Places that files are read from and written to: on a disk, or in an object store (`s3://`, `gs://`) by pyarrow.fs.

A place is an address, never a connection or a key: it can be sent to workers, which log in with the credentials of
their own environment.
"""

from __future__ import annotations

from pipelines.store.address import path_of, place_of
from pipelines.store.disk import Disk
from pipelines.store.pieces import BLOCK, Pieces, PiecesFile
from pipelines.store.place import Contents, Place
from pipelines.store.remote import Remote, Version
from pipelines.store.retry import PATIENCE, StoreError, abandoned

__all__ = [
    "BLOCK",
    "PATIENCE",
    "Contents",
    "Disk",
    "Pieces",
    "PiecesFile",
    "Place",
    "Remote",
    "StoreError",
    "Version",
    "abandoned",
    "path_of",
    "place_of",
]
