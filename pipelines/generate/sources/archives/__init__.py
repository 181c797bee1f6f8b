"""Formats of files that hold many images with labels, a module for each, which the table finds by itself.

If a folder has several formats, the first in `FORMATS` is read.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, cast

from pipelines.generate.sources.base import Source
from pipelines.store import Place


class Format(Protocol):
    """A module of this package: the files' suffix, what messages call several of them, and their source."""

    SUFFIX: str
    NAME: str

    def open_files(self, files: tuple[Place, ...], labels: Place | None, split: str, notes: tuple[str, ...]) -> Source:
        """The source of a split's files and a list of labels, if given. Raises UsageError for a list that is unfit."""


_NAMES = sorted(module.name for module in pkgutil.iter_modules(__path__))
_MODULES = [cast("Format", importlib.import_module(f"{__name__}.{name}")) for name in _NAMES]
# By suffix.
FORMATS: Mapping[str, Format] = MappingProxyType({each.SUFFIX: each for each in _MODULES})
# For messages: `.parquet or .tar`.
SUFFIXES = " or ".join(", ".join(FORMATS).rsplit(", ", 1))
