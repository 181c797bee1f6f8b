"""How a model wants its pixels and how its outputs are read: stated in a small TOML beside it, and never guessed.

For `m.onnx` it is `m.toml`; options on the command line come before it. Every model needs these five:

    mean = [0.485, 0.456, 0.406]  # x = (pixel * scale - mean) / std, in the model's order of channels
    std = [0.229, 0.224, 0.225]
    scale = "1/255"               # a number or a fraction
    channels = "rgb"              # or "bgr"
    layout = "nchw"               # or "nhwc"

and some need a few of these:

    class_offset = 1              # classifiers: how many classes (background) come before ImageNet's
    labels = "labels.txt"         # classifiers: the ImageNet label of each output, one a line; -1 for none of them
    head = "yolox"                # detectors: or "nanodet"
    pad = 114                     # detectors: the pixel value around images smaller than the input ...
    placement = "top_left"        # ... which stand there, or in the "center"
    score_threshold = 0.01        # detectors: boxes with less are dropped; default: the head's own
    nms_iou = 0.65                # detectors: boxes that overlap more are one; default: the head's own
    size = 416                    # the input's side, where the model leaves it open
    batch = 8                     # images at a time; default 1, as outputs of some int8 models depend on it

Refuses what is not stated, not known, or of the wrong kind.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.heads import HEADS
from pipelines.evaluate.predictions import CLASSES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Preprocessing:
    """x = (pixel * scale - mean) / std for pixels of 0 to 255, and how outputs are read; see the module.

    `mean` and `std` have the model's order of channels. `labels` has the dataset's label of each of the model's
    outputs, -1 for none. `pad` and `placement` are None where no image is smaller than the model's input.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float
    channels: str
    layout: str
    class_offset: int = 0
    labels: tuple[int, ...] | None = None
    head: str | None = None
    pad: int | None = None
    placement: str | None = None
    size: int | None = None
    score_threshold: float = 0.01
    nms_iou: float = 0.65
    batch: int = 1


# What `labels` is called on a command line that has another --labels.
_CLASS_LABELS = "class_labels"
# What each must be given as, in the words of a TOML.
_NEEDED: Mapping[str, str] = {
    "mean": "mean = [0.485, 0.456, 0.406]",
    "std": "std = [0.229, 0.224, 0.225]",
    "scale": 'scale = "1/255"',
    "channels": 'channels = "rgb"',
    "layout": 'layout = "nchw"',
}


def read_preprocessing(model: Path, given: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing of a model, from its TOML (`given["preprocessing"]`, or the model's name with .toml).

    What is in `given` under the TOML's keys, as the same kinds of values, comes before it; None is not given. Paths in
    a TOML are relative to it. Raises UsageError for what is missing, unknown or of the wrong kind.
    """
    if not model.is_file():
        raise UsageError(f"--model {model} is no file: give an ONNX model")
    stated = given.get("preprocessing")
    path = Path(stated) if stated else model.with_suffix(".toml")
    values = _from_toml(path) if stated or path.is_file() else {}
    for flag in (*_KEYS, _CLASS_LABELS):
        if given.get(flag) is not None:
            key = "labels" if flag == _CLASS_LABELS else flag
            values[key] = _parsed(key, given[flag], f"--{flag.replace('_', '-')}", Path())
    missing = [line for key, line in _NEEDED.items() if key not in values]
    if missing:
        lines = ", ".join(f"`{line}`" for line in missing)
        raise UsageError(
            f"how {model.name} wants its pixels is not all stated: write into {path} lines such as {lines}"
        )
    if values.get("class_offset") and "labels" in values:
        raise UsageError(f"{model.name}: class_offset and labels both say what a class is called: give one of them")
    if "head" in values:
        head = HEADS[values["head"]]
        values = {"score_threshold": head.score_threshold, "nms_iou": head.nms_iou, **values}
    return Preprocessing(**values)


def _from_toml(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read as TOML ({reason})") from None
    for key in found:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KEYS)}"
            raise UsageError(f"{path} has an unknown key {key!r}: {hint}")
    return {key: _parsed(key, value, f"{path}: {key}", path.parent) for key, value in found.items()}


def _parsed(key: str, value: object, where: str, folder: Path) -> Any:
    if key == "labels":
        return _labels(value, where, folder)
    try:
        return _KEYS[key](value)
    except ValueError as error:
        raise UsageError(f"{where} must be {error}, not {value!r}") from None


def _labels(value: object, where: str, folder: Path) -> tuple[int, ...]:
    if not isinstance(value, str | Path):
        raise UsageError(f"{where} must be the path of a file with a label a line, not {value!r}")
    path = folder / value
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: {path} cannot be read ({error})") from None
    known = {str(label): label for label in range(-1, CLASSES)}
    for number, line in enumerate(lines, 1):
        if line not in known:
            raise UsageError(f"{path}, line {number}: {line!r} is no label from -1 (none) to {CLASSES - 1}")
    labels = tuple(known[line] for line in lines)
    twice = next((label for label in labels if label >= 0 and labels.count(label) > 1), None)
    if twice is not None:
        raise UsageError(f"{path} has the label {twice} more than once: no two outputs can be one class")
    return labels


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a number")
    return float(value)


def _three(value: object) -> tuple[float, ...]:
    wanted = "three numbers, one a channel"
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
        raise ValueError(wanted)
    try:
        return tuple(map(_number, value))
    except ValueError:
        raise ValueError(wanted) from None


def _divisors(value: object) -> tuple[float, ...]:
    found = _three(value)
    if not all(divisor > 0 for divisor in found):
        raise ValueError("three numbers above 0")
    return found


def _scale(value: object) -> float:
    try:
        scale = float(Fraction(value)) if isinstance(value, str) else _number(value)
    except (ValueError, ZeroDivisionError):
        scale = 0.0
    if not scale > 0:
        raise ValueError('a number above 0, or a fraction such as "1/255"')
    return scale


def _share(value: object) -> float:
    number = _number(value)
    if not 0 <= number <= 1:
        raise ValueError("a number from 0 to 1")
    return number


def _whole(low: int, high: int | None = None) -> Callable[[object], int]:
    wanted = f"a whole number from {low} to {high}" if high is not None else f"a whole number of at least {low}"

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            raise ValueError(wanted)
        return value

    return parse


def _one_of(*names: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(" or ".join(f'"{name}"' for name in names))
        return value

    return parse


_KEYS: Mapping[str, Callable[[object], Any]] = {
    "mean": _three,
    "std": _divisors,
    "scale": _scale,
    "channels": _one_of("rgb", "bgr"),
    "layout": _one_of("nchw", "nhwc"),
    "class_offset": _whole(0),
    "labels": str,  # a path, which `_labels` reads
    "head": _one_of(*HEADS),
    "pad": _whole(0, 255),
    "placement": _one_of("top_left", "center"),
    "size": _whole(1),
    "score_threshold": _share,
    "nms_iou": _share,
    "batch": _whole(1),
}
