"""Finds the device's outputs: a file for each image, named by key, or one file for all.

For each image: `KEY.npy`, `KEY.json` or `KEY.csv`; for a model with several outputs, a `KEY.OUTPUT.npy` for each or one
`KEY.npz`. For all: a CSV with a column `key`, a JSON object by key or a COCO results list, or an npz with an array for
each key. Images without boxes in a list are left out, since the device may not have seen them. Refuses ambiguous files:
two for one image, or several for all.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import UsageError
from pipelines.evaluate.match.outputs import values
from pipelines.evaluate.match.outputs.values import SUFFIXES, Value
from pipelines.text import first_line

# Suffixes that a key may keep: x.JPEG.npy is for x.
_IMAGES = ("jpeg", "jpg", "png")


class Given(NamedTuple):
    """The sorted keys for which a device has outputs, the names of other contents, and a function that reads some keys.

    `numbered`: keys were found by their number, from the image ids of COCO results.
    """

    keys: list[str]
    others: list[str]
    read: Callable[[Collection[str]], dict[str, Value]]
    numbered: bool = False


def find_outputs(path: Path, known: Collection[str]) -> Given:
    """The device's outputs at `path` for the `known` keys. Raises UsageError if there are none."""
    if path.is_file():
        found = _for_all(path, known)
    elif path.is_dir():
        found = _folder(path, known)
    else:
        raise UsageError(f"{path} is neither a folder nor a file: give the one with the device's outputs")
    if not found.keys:
        contents = f"has {found.others[0]}" if found.others else "is empty"
        example = min(known, default="none at all")
        raise UsageError(
            f"nothing in {path} is named by a key of the shards: it {contents}, but keys are like {example} (the "
            "source file's name without its suffix)"
        )
    return found


def _folder(folder: Path, known: Collection[str]) -> Given:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    usable = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not usable:
        found = f"it has {files[0].name}" if files else "it is empty"
        raise UsageError(f"no {', '.join(SUFFIXES)} file in {folder} ({found}): write outputs in one of these formats")
    by_key: dict[str, list[Path]] = defaultdict(list)
    for path in usable:
        # Keys have no dot.
        if (key := path.name.partition(".")[0]) in known:
            by_key[key].append(path)
    if not by_key and len(usable) == 1:
        return _for_all(usable[0], known)
    for key, paths in by_key.items():
        outputs = [_output_of(path) for path in paths]
        if len(paths) > 1 and (len(set(outputs)) < len(paths) or "" in outputs):
            raise UsageError(
                f"{paths[0].name} and {paths[1].name} in {folder} are both for {key}: keep one of them or, if they are "
                f"different outputs of the model, name them {key}.OUTPUT.npy"
            )
    taken = {path for paths in by_key.values() for path in paths}

    def read(keys: Collection[str]) -> dict[str, Value]:
        return {key: _of_image(by_key[key]) for key in keys}

    return Given(sorted(by_key), [path.name for path in files if path not in taken], read)


def _output_of(path: Path) -> str:
    """The output in a file's name, `logits` in `KEY.logits.npy`; empty if there is none."""
    if path.suffix.lower() != ".npy":
        return ""
    name = path.name.partition(".")[2][: -len(path.suffix)].rstrip(".")
    return "" if name.lower() in _IMAGES else name


def _of_image(paths: Sequence[Path]) -> Value:
    path = paths[0]
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return {_output_of(path): values.of_npy(path) for path in paths}
    if suffix == ".npz":
        return values.of_npz(path)
    return values.of_csv(path) if suffix == ".csv" else values.of_json(_json(path), str(path))


def _for_all(path: Path, known: Collection[str]) -> Given:
    readers: Mapping[str, Callable[[Path, Collection[str]], Given]] = {
        ".csv": _table,
        ".json": _object,
        ".npz": _archive,
    }
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"{path} is not named by a key of the shards: name files by key, or write one .csv, .json or .npz"
        )
    return readers[path.suffix.lower()](path, known)


def _given(path: Path, found: Mapping[str, Any], known: Collection[str], read: Callable[[str, Any], Value]) -> Given:
    """The contents of one file by key; only keys that are asked for are parsed."""
    return Given(
        sorted(key for key in found if key in known),
        [f"{key} in {path.name}" for key in found if key not in known],
        lambda keys: {key: read(f"{path}: {key}", found[key]) for key in keys},
    )


def _table(path: Path, known: Collection[str]) -> Given:
    header, *rows = values.rows_of(path) or [[]]
    if "key" not in header:
        raise UsageError(f"{path} is not named by a key, and has no column `key`: it has {', '.join(header[:5])}")
    column = header.index("key")
    if wrong := next((number for number, row in enumerate(rows, 2) if row and len(row) != len(header)), None):
        raise UsageError(f"{path}, line {wrong}: not the {len(header)} columns of its header")
    names = [name for name in header if name != "key"]
    by_key: dict[str, list[list[str]]] = defaultdict(list)
    for row in rows:
        if row:
            by_key[row[column]].append(row[:column] + row[column + 1 :])
    if "score" in names:
        return _given(path, by_key, known, lambda where, own: values.boxes_of_rows(names, own, where))
    if names != [str(number) for number in range(len(names))]:
        raise UsageError(
            f"{path} has the columns {', '.join(header[:5])}: it needs `key` and a column for each class, named 0, 1, "
            "…, or the columns of boxes"
        )
    twice = next((key for key, own in by_key.items() if len(own) > 1), None)
    if twice is not None:
        raise UsageError(f"{path} has {twice} more than once: keep one row")
    return _given(path, by_key, known, lambda where, own: {"": values.of_text(own[0], where)})


def _object(path: Path, known: Collection[str]) -> Given:
    found = _json(path)
    if isinstance(found, dict):
        return _given(path, found, known, lambda where, own: values.of_json(own, where))
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UsageError(f"{path} is neither an object by key nor a COCO results list")
    # COCO's keys are image numbers.
    keys = {int(key): key for key in known if re.fullmatch("[0-9]+", key)}
    by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
    numbered = False
    for result in found:
        number = result.get("image_id")
        key = result.get("key", keys.get(number, number) if isinstance(number, int) else None)
        if key is None:
            raise UsageError(f"{path}: a result has neither an image_id nor a key: {str(result)[:120]}")
        numbered |= "key" not in result
        by_key[str(key)].append(result)
    given = _given(path, by_key, known, lambda where, own: values.boxes_of_results(own, where))
    return given._replace(numbered=numbered)


def _archive(path: Path, known: Collection[str]) -> Given:
    found = values.of_npz(path)
    return _given(path, found, known, lambda _, own: {"": own})


def _json(path: Path) -> Any:
    values.check_size(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as JSON ({first_line(error)})") from None
