"""What the rows of all sets have in common, and what defines a kind of set.

A set is of one kind: images or mel spectrograms. A `Kind` gives the columns of its tables, the fields of its recipes,
and the way residuals are summed up. Code that reads or writes records asks the kind and never checks for one by name.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from manifests.canonical import canonical_json

# Characters that sample names and paths never contain: they become file names, and are printed on terminals.
UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
# Bytes of name that fit into USTAR: a sample's key, and the longest extension of its members.
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class Row(ABC):
    """One source sample in one variant.

    Either `status` is `ok` and `error` is empty, or `status` is `failed` and the fields of the result are empty or 0.
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
        """The content of the sample's `json` member: the same keys for every sample, never null."""

    @abstractmethod
    def members(self, config: Mapping[str, Any]) -> dict[str, bytes | None]:
        """The sample's members by extension, in order: bytes for text members, None for the others."""

    def json(self) -> bytes:
        return canonical_json(self.member()).rstrip(b"\n")


class Residuals(Protocol):
    """Figures over some rows, which can be added to those of other rows."""

    def __add__(self, other: Any) -> Residuals: ...

    def summary(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Kind:
    """What differs between sets of images and sets of mel spectrograms.

    `later` is a column that older records lack; it is written only if some row has a value for it. `digest` is the
    column with a result's sha256, and `digest_of_all` the corresponding field of the summary. `shown` names the text
    columns that are printed on terminals. `stages` are those that a recipe spells out, `config` the shape of the
    configuration's fields that only this kind has, `about` the part of the summary that gives the size of results, and
    `about_shape` its shape. `residuals` sums up the columns `residual_columns` of all rows, given how many were made;
    `summary` is the shape of that sum. `drawn` names the keys of a row's `extra` with the methods drawn for it, if any
    were: tables get a column for each.
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
        """All fields of a row: its columns and `extra`."""
        return (*self.columns.names, "extra")

    @property
    def longest_key(self) -> int:
        """The largest number of bytes in a sample's key."""
        return _LONGEST_NAME - len(f".{self.longest_extension}")

    @property
    def first_columns(self) -> pa.Schema:
        """The columns that every version of records and tables has."""
        return pa.schema([column for column in self.columns if column.name != self.later])

    def rows(self, cells: Mapping[str, Sequence[Any]]) -> tuple[Row, ...]:
        """Rows from columns; `later` may be missing."""
        names = [name for name in self.fields if name in cells]
        columns = [cells[name] for name in names]
        return tuple(self.row(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True))


def is_key(text: str) -> bool:
    """Whether a text can be a sample's key, its length aside: a file name without folder and extension."""
    return bool(text) and not UNFIT.search(text) and "/" not in text and "." not in text
