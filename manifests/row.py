"""What the rows of all sets have in common, and what a kind of set is.

A set is of one kind: images or mel spectrograms. A `Kind` says which columns its tables have, which fields its recipes
hold, and how residuals are summed up; whoever reads or writes records asks it, and knows no kind by name.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from manifests.canonical import canonical_json

# What names of samples and their paths never have: they become names of files, and are shown on terminals.
UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
# Bytes of name that USTAR holds: a sample's key, and the longest extension of its members.
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class Row(ABC):
    """One source sample in one variant.

    `error` is empty and `status` is `ok`, or `status` is `failed` and the fields that need a result are empty or 0.
    """

    key: str
    shard: int
    source_path: str
    source_sha256: str
    extra: dict[str, Any]
    status: str = "ok"
    error: str = ""

    @abstractmethod
    def member(self) -> dict[str, Any]:
        """What the sample's `json` member holds: the same keys for every sample, never null."""

    @abstractmethod
    def members(self, config: Mapping[str, Any]) -> dict[str, bytes | None]:
        """The members of the sample by extension, in their order: the text members' bytes, None for each other."""

    def json(self) -> bytes:
        """The `json` member."""
        return canonical_json(self.member()).rstrip(b"\n")


class Residuals(Protocol):
    """Figures of some rows, which can be added to those of others."""

    def __add__(self, other: Any) -> Residuals: ...

    def summary(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Kind:
    """What differs between sets of images and of mel spectrograms.

    `later` is the column that records made before it lack; it is written where a row has a value in it. `digest` is the
    column of a result's sha256, and `digest_of_all` the summary's. `shown` are columns of text that is shown on
    terminals. `stages` are those that a recipe spells out, `config` the shape of its configuration besides what all
    have, `about` the part of the summary that says how large results are, with its shape. `residuals` sums up the
    columns `residual_columns` of all rows, given how many were made; `summary` is the shape of that. `drawn` are what
    the `extra` of rows has of methods that were drawn, where they were: tables have a column for each.
    """

    row: Callable[..., Row]
    columns: pa.Schema
    longest_extension: str
    digest: str
    digest_of_all: str
    stages: tuple[str, ...]
    config: Mapping[str, Any]
    about: Callable[[Mapping[str, Any]], dict[str, Any]]
    about_shape: Mapping[str, Any]
    residual_columns: tuple[str, ...]
    residuals: Callable[..., Residuals]
    summary: Mapping[str, Any]
    later: str = ""
    shown: tuple[str, ...] = ("source_path",)
    drawn: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields of a row: the columns, and `extra`."""
        return (*self.columns.names, "extra")

    @property
    def longest_key(self) -> int:
        """The bytes that a sample's key has at most."""
        return _LONGEST_NAME - len(f".{self.longest_extension}")

    @property
    def first_columns(self) -> pa.Schema:
        """What records and tables have had from the first."""
        return pa.schema([column for column in self.columns if column.name != self.later])

    def rows(self, cells: Mapping[str, Sequence[Any]]) -> tuple[Row, ...]:
        """The rows of some columns, of which `later` may be missing."""
        names = [name for name in self.fields if name in cells]
        columns = [cells[name] for name in names]
        return tuple(self.row(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True))


def is_key(text: str) -> bool:
    """Whether a text can be a sample's key but for its length: the name of a file without its folder and extension."""
    return bool(text) and not UNFIT.search(text) and "/" not in text and "." not in text
