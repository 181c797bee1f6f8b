"""The files of a model: its own and those of its external weights; and their digest.

The names of external files are stored with the tensors (`external_data` in onnx.proto). They are read from protobuf's
wire format, since ONNX Runtime has no function for it. A TFLite model is one file. Refuses what ONNX Runtime refuses: a
name that leads out of the model's folder, a missing file, and a link to a file elsewhere. (ONNX Runtime before 1.24
follows such links. They are refused with any version, so that a model is fit for all machines or for none.) If the
model itself is a link, as in the Hugging Face Hub's cache, its weights may also lie below the folder of the link's
target.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from pipelines.errors import UsageError

# The messages of onnx.proto that can contain tensors, with the numbers of the fields that lead to them.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2  # of an entry
# Levels of graphs in nodes in graphs; ONNX Runtime accepts up to 100 levels of protobuf.
_DEEPEST = 100
# Endings of models without external weights, which are not protobuf.
_SINGLE_FILE = frozenset({".tflite"})
_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5  # protobuf's types on the wire
_BLOCK = 1 << 20


def model_sha256(model: Path) -> str:
    """The digest of the model's file followed by those of its external weights, in order of their paths.

    Raises UsageError if one of them is missing, and OSError if one cannot be read.
    """
    digest = hashlib.sha256()
    for path in model_files(model):
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def model_files(model: Path) -> list[Path]:
    """The model's own file, then those of its external weights, in order. Raises UsageError and OSError."""
    if model.suffix.lower() in _SINGLE_FILE:
        return [model]
    return [model, *sorted(_beside(model, name) for name in _locations(model))]


def _beside(model: Path, name: str) -> Path:
    path, words = model.parent / name, PurePosixPath(name)
    if words.is_absolute() or ".." in words.parts:
        raise UsageError(
            f"{model} keeps weights in {name}, outside its own folder: save it with its weights next to it"
        )
    real = model.resolve()
    if not path.is_file():
        beside = (real.parent / name).is_file()
        way_out = f"give --model {real}, which it links to" if beside else f"put that file into {path.parent}"
        raise UsageError(f"{model} keeps weights in {name}, which is missing: {way_out}")
    if not any(path.resolve().is_relative_to(folder) for folder in (model.parent.resolve(), real.parent)):
        raise UsageError(
            f"{model} keeps weights in {name}, a link that leads out of its folder, which ONNX Runtime refuses from "
            "1.24 on: put the file itself there"
        )
    return path


def _locations(model: Path) -> set[str]:
    """The names of external files in a model; none if it is not a model, which the runtime will report."""
    with open(model, "rb") as file:
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return set(_in_message(content, 0, len(content), "model", _DEEPEST))
        except (ValueError, IndexError):  # an empty file, or one that ends too early
            return set()


def _in_message(content: mmap.mmap, start: int, end: int, kind: str, depth: int) -> Iterator[str]:
    if not depth:
        raise ValueError("it is nested too deeply")
    for field, low, high in _fields(content, start, end):
        inner = _FIELDS[kind].get(field)
        if inner == "entry":
            texts = {own: content[first:last] for own, first, last in _fields(content, low, high)}
            if texts.get(_KEY) == b"location":
                yield texts.get(_VALUE, b"").decode()
        elif inner:
            yield from _in_message(content, low, high, inner, depth - 1)


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The number of each length-delimited field, and where its content begins and ends; other fields are skipped."""
    while start < end:
        tag, start = _varint(content, start)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, start = _varint(content, start)
        elif wire == _LENGTH:
            length, start = _varint(content, start)
            if length > end - start:
                raise ValueError("it ends too early")
            yield field, start, start + length
            start += length
        elif wire in (_EIGHT, _FOUR):
            start += 8 if wire == _EIGHT else 4
        else:
            raise ValueError("no protobuf")


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """A number, least significant seven bits first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("no protobuf")
