"""Finds the columns of a table with images, labels and names.

`image` and `label` are used if they have suitable types; otherwise the only column with another common name and a
suitable type. Refuses tables that have no such columns or several; the message lists the columns found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pyarrow as pa

from pipelines.errors import UsageError
from pipelines.store import Place

_IMAGES = ("image", "img", "jpg", "jpeg", "png", "image_bytes")
_LABELS = ("label", "labels", "cls", "class", "label_id", "class_id", "target")
_NAMES = ("__key__", "file_name", "filename", "path", "image_path", "image_id", "key", "name")
# The most columns listed in a message, and characters of a type.
_MOST_NAMED, _LONGEST_TYPE = 12, 60


class Columns(NamedTuple):
    """The columns, or fields (`image.bytes`), of image, label and name; the name is empty if there is none."""

    image: str
    label: str
    name: str

    @property
    def listed(self) -> list[str]:
        """The columns read for a listing."""
        return [self.name, self.label] if self.name else [self.label]


def columns_of(place: Place, schema: pa.Schema) -> Columns:
    """The columns of the table in `place`. Raises UsageError if there are none."""
    image = _only(place, schema, "images", _IMAGES, lambda kind: _is_binary(kind) or _is_image(kind))
    label = _only(place, schema, "labels", _LABELS, pa.types.is_integer)
    kind = schema.field(image).type
    if not pa.types.is_struct(kind):
        return Columns(image, label, next((name for name in _NAMES if _is_text(_type(schema, name))), ""))
    inside = {field.name: field.type for field in kind}
    if "path" in inside and not _is_text(inside["path"]):
        raise UsageError(f"{place}: `path` in `{image}` is not text")
    return Columns(f"{image}.bytes", label, f"{image}.path" if "path" in inside else "")


def _only(place: Place, schema: pa.Schema, what: str, names: Sequence[str], fits: Callable[[pa.DataType], bool]) -> str:
    """The column with the first of these names if it fits, or else the only one that does."""
    found = [name for name in names if (kind := _type(schema, name)) is not None and fits(kind)]
    if found and (found[0] == names[0] or len(found) == 1):
        return found[0]
    trouble = f"the columns {' and '.join(found)} could all be {what}" if found else f"no column has {what}"
    raise UsageError(
        f"{place}: {trouble}; expected `image` (bytes, or bytes and path) and integer `label`, found {_listed(schema)}"
    )


def _type(schema: pa.Schema, name: str) -> pa.DataType | None:
    return schema.field(name).type if schema.names.count(name) == 1 else None


def _is_binary(kind: pa.DataType | None) -> bool:
    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_image(kind: pa.DataType) -> bool:
    """Whether a type is the struct in which the Hub stores images."""
    if not pa.types.is_struct(kind):
        return False
    inside = {field.name: field.type for field in kind}
    return len(inside) == len(kind) and _is_binary(inside.get("bytes"))


def _is_text(kind: pa.DataType | None) -> bool:
    if kind is None:
        return False
    text = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(text) or pa.types.is_large_string(text))


def _listed(schema: pa.Schema) -> str:
    columns = [f"{field.name} ({str(field.type)[:_LONGEST_TYPE]})" for field in list(schema)[:_MOST_NAMED]]
    return ", ".join(columns + ["…"][: len(schema) > _MOST_NAMED]) or "none"
