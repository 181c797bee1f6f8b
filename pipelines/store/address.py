"""Turns paths and URIs, as users write them, into places. Refuses URIs that contain credentials."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from pipelines.errors import UsageError
from pipelines.store.disk import Disk
from pipelines.store.place import Place
from pipelines.store.remote import Remote

_SCHEMES = ("s3", "gs")


def place_of(text: str, option: str) -> Place:
    """The place of a path or URI that a user gave as `option`.

    Raises UsageError for other schemes, and for credentials in the URI, which the message does not repeat.
    """
    if "://" not in text:
        return Disk(os.path.abspath(text))
    scheme = text.partition("://")[0].lower()
    parts = urlsplit(text)
    if "@" in parts.netloc and parts.netloc != f"anonymous@{parts.netloc.rpartition('@')[2]}":
        raise UsageError(
            f"{option} contains credentials, which would end up in logs: leave them out, and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (or GOOGLE_APPLICATION_CREDENTIALS) in the environment"
        )
    if scheme == "file":
        return Disk(os.path.abspath(fs.FileSystem.from_uri(text)[1]))
    if scheme not in _SCHEMES:
        raise UsageError(f"{option} {text}: give a path, or a URI that begins with s3://, gs:// or file://")
    bucket = parts.netloc.rpartition("@")[2]
    if not bucket:
        raise UsageError(f"{option} {text} names no bucket: write {scheme}://BUCKET/FOLDER")
    place = Remote(f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}", parts.query)
    try:
        place.is_dir()
    except (pa.ArrowInvalid, ValueError) as error:
        raise UsageError(f"{option} {text} is not a URI that pyarrow.fs accepts ({error})") from None
    return place


def path_of(text: str, option: str) -> Path:
    """The path that a user gave as `option`. Raises UsageError for a URI."""
    if "://" in text:
        raise UsageError(f"{option} {text} is a URI, but this must be on a disk: give a path")
    return Path(text)
