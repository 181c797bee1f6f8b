"""The `croissant.json` of a repository on the Hub, which gives its files' addresses: no local copy is needed."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifests.schema import TABLE
from pipelines.generate.croissant import Part, Published, croissant
from pipelines.hub.client import Repo


def hub_croissant(repo: Repo, summaries: Sequence[Mapping[str, Any]], *, pixels: bool) -> bytes:
    """The file for variants in the repository, given their summaries (`manifest.json`)."""
    published = Published(repo.url, f"{repo.url}/resolve/main/", repo.created())
    dataset = str(summaries[0]["config"]["dataset"])
    return croissant(dataset, _parts(repo, summaries), published, pixels=pixels)


def _parts(repo: Repo, summaries: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    revision = repo.commit(None)
    sizes, hashes = repo.files(revision), repo.hashes(revision)
    with tempfile.TemporaryDirectory() as folder:
        for summary in summaries:
            path = f"{summary['name']}/{TABLE}"
            if path not in hashes:  # an earlier variant, damaged since
                continue
            # The Hub stores no sha256 of a small file.
            sha256 = hashes[path] or hashlib.sha256(repo.fetch(path, revision, Path(folder)).read_bytes()).hexdigest()
            yield Part.of(summary, (sizes[path], sha256))
