"""How a model wants its pixels and how its outputs are read: stated in a small TOML beside it, and never guessed.

For `m.onnx` it is `m.toml`; options on the command line come before it. Every model needs these five:

    mean = [0.485, 0.456, 0.406]  # x = (pixel * scale - mean) / std, in the model's order of channels
    std = [0.229, 0.224, 0.225]
    scale = "1/255"               # a number or a fraction
    channels = "rgb"              # or "bgr"
    layout = "nchw"               # or "nhwc"

and some need a few of these:

    class_offset = 1              # how many classes (background) come before ImageNet's 1,000 or COCO's 80
    labels = "labels.txt"         # the dataset's label of each of the model's classes, one a line; see below
    output = "logits"             # classifiers, segmentation: which output is read, where several could be
    upsample = "bilinear"         # segmentation: how outputs of another size come to the shards', as PyTorch's
                                  # interpolate does; or "bilinear_corners" (align_corners=True), or "nearest"
    head = "yolox"                # detectors: how outputs are decoded; default: told by them, or asked for
    boxes = "pixels"              # detectors: or "shares" of the input; default: told by the first image's
    pad = 114                     # detectors: the pixel value around images smaller than the input ...
    placement = "top_left"        # ... which stand there, or in the "center"
    score_threshold = 0.01        # detectors: boxes with less are dropped; default: the head's own
    nms_iou = 0.65                # detectors: boxes that overlap more are one; default: the head's own
    batch = 8                     # images at a time; default 1, as outputs of some int8 models depend on it
    size = 416                    # the input's side, where the model leaves it open, and the --size of its shards, ...

which may be [800, 1333] or [width, height] as well. The rest of what its shards are made with, by generate.py's names:

    geometry = "crop"
    resize = 235                  # the side before the centre is cropped, in pixels ...
    crop_pct = 0.95               # ... or as a share, as timm has it: floor(size / crop_pct)
    reference = "pil_bicubic"     # the variant that it was trained on, which others are to be compared with

A line of `labels` is a label (ImageNet's 0-999, COCO's category ids, Cityscapes' train ids 0-18), -1 for a class that
the dataset lacks, or a synset, with or without a name behind it: `n01440764 tench`. So lists of ImageNet-21k's synsets
do as they are.

Refuses what is not stated, not known, or of the wrong kind.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from generators.geometry import CROPPED, GEOMETRIES, Size
from generators.variant import Variant, VariantError
from generators.variant import reference as variant
from manifests.untrusted import read_at_most
from pipelines.errors import UsageError
from pipelines.evaluate.class_tables import CLASSES
from pipelines.evaluate.model.heads import HEADS
from pipelines.generate.config import size_from_json
from pipelines.generate.datasets import DATASETS
from pipelines.generate.sources.labels import label_by_synset
from pipelines.generate.target import choose_geometry, words
from pipelines.options import Target
from pipelines.progress import say
from pipelines.shards import Shards
from pipelines.store import place_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Preprocessing:
    """x = (pixel * scale - mean) / std for pixels of 0 to 255, and how outputs are read; see the module.

    `mean` and `std` have the model's order of channels. `labels` has the dataset's label of each of the model's
    classes, -1 for none. `output` and `upsample` are None where the outputs leave no choice. `head` and `boxes` are
    None where outputs tell them; thresholds count beside a head alone, and `nms_iou` is None for one that suppresses
    nothing. `pad` and `placement` are None where no image is smaller than the model's input. `size`, `geometry`,
    `resize`, `crop_pct` and `reference` are None where shards of any are taken.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float
    channels: str
    layout: str
    class_offset: int = 0
    labels: tuple[int, ...] | None = None
    output: str | None = None
    upsample: str | None = None
    head: str | None = None
    boxes: str | None = None
    pad: int | None = None
    placement: str | None = None
    size: int | tuple[int, int] | None = None
    score_threshold: float = 0.01
    nms_iou: float | None = 0.65
    batch: int = 1
    geometry: str | None = None
    resize: int | None = None
    crop_pct: float | None = None
    reference: str | None = None

    @property
    def frame(self) -> tuple[int, int] | None:
        """The width and height of an input that the model leaves open; None where it is not stated."""
        if isinstance(self.size, int):
            return self.size, self.size
        return self.size if self.geometry == "stretch" else None

    def of_predictions(self) -> dict[str, Any]:
        """What predictions depend on: not what decides shards alone, as size does where no image is padded."""
        of_shards = {"geometry", "resize", "crop_pct", "reference"}
        if self.frame is None or (self.head is None and self.pad is None):
            of_shards.add("size")
        return {name: value for name, value in asdict(self).items() if name not in of_shards}


# The geometry of a resize or crop_pct that has none stated beside it.
_CROP = "crop"
# What `labels` is called on a command line that has another --labels.
_CLASS_LABELS = "class_labels"
# A synset's id in WordNet, alone or before its name.
_SYNSET = re.compile(r"n\d{8}(?=\W|$)")
_SYNSET_LENGTH = 9
# Bytes of a file of labels: a line of names for each of the most classes that a model has.
_LARGEST_LABELS = 2**24
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
        raise UsageError(f"--model {model} is no file: give an ONNX or TFLite file, timm:NAME or torchvision:NAME")
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
    if "resize" in values and "crop_pct" in values:
        raise UsageError(f"{path}: resize and crop_pct both say what is before the crop: give one of them")
    thresholds = [key for key in ("score_threshold", "nms_iou") if key in values]
    if thresholds and "head" not in values:
        raise UsageError(f"{model.name}: {' and '.join(thresholds)} would change a head's own: give the head as well")
    if "head" in values:
        head = HEADS[values["head"]]
        values = {"score_threshold": head.score_threshold, "nms_iou": head.nms_iou, **values}
    return Preprocessing(**values)


def check_distinct(preprocessing: Preprocessing) -> None:
    """Raises UsageError where two of a model's classes have one label."""
    counts = Counter(label for label in preprocessing.labels or () if label >= 0)
    twice = next((label for label, count in counts.items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"labels has the label {twice} more than once: no two outputs can be one class")


def wanted_geometry(preprocessing: Preprocessing, target: Target, dataset: str) -> Target:
    """What shards for a model are to be made with: what the command line asks for, then what its TOML states.

    The TOML's `resize` belongs to its size and geometry: where the command line has others, it does not count.
    """
    geometry = target.geometry or preprocessing.geometry
    size = target.size or _shards_size(preprocessing.size, geometry or DATASETS[dataset].geometry)
    resize, crop_pct = target.resize, target.crop_pct
    if resize is None and crop_pct is None and (target.geometry is None or target.geometry in CROPPED):
        resize = preprocessing.resize if target.size is None else None
        crop_pct = preprocessing.crop_pct
    return Target(geometry, size, resize, crop_pct)


def overruled(preprocessing: Preprocessing, target: Target) -> Preprocessing:
    """The same without what it states of geometry, where the command line asks for another one, which is said.

    A size is kept: it is that of the model's input.
    """
    theirs = preprocessing.geometry or _CROP
    if target.geometry in (None, theirs):
        return preprocessing
    if preprocessing.geometry is not None:
        say(f"the model's preprocessing asks for --geometry {theirs}, and the command line for {target.geometry}")
    return replace(preprocessing, geometry=None, resize=None, crop_pct=None)


def _shards_size(size: int | tuple[int, int] | None, geometry: str) -> Size | None:
    """The `--size` that a TOML's size is: keep_ratio's two sides may be one."""
    if isinstance(size, int):
        return (size, size) if geometry == "keep_ratio" else (size,)
    return size


def check_geometry(shards: Shards, preprocessing: Preprocessing) -> None:
    """Raises UsageError, with the command that makes the right ones, where shards are not what a model's TOML states.

    What is not stated is not compared, nor is a size alone: it is that of the input, which every image is held against.
    """
    if preprocessing.geometry is None and preprocessing.resize is None and preprocessing.crop_pct is None:
        return
    have = str(shards.config["geometry"]), size_from_json(shards.config["size"])
    chosen = choose_geometry(shards.dataset, beside(preprocessing, Target(), shards.dataset, Target.of(*have)))
    if chosen != have:
        raise UsageError(
            f"the model's preprocessing asks for shards of {_spoken(chosen)}, and {shards.root} has {_spoken(have)}; "
            f"to make the right ones: {shards.command(list(shards.variants), chosen)}"
        )


def beside(preprocessing: Preprocessing, target: Target, dataset: str, have: Target) -> Target:
    """What shards that `have` a geometry and size should have: what is neither asked for nor stated is theirs where it
    can be.
    """
    geometry = target.geometry or preprocessing.geometry or have.geometry
    wanted = wanted_geometry(preprocessing, replace(target, geometry=geometry), dataset)
    size = wanted.size
    if size is None and (geometry == have.geometry or len(have.size or ()) == 1 in GEOMETRIES[str(geometry)].values):
        size = have.size
    before = wanted.resize, wanted.crop_pct
    if before == (None, None) and (geometry, size) == (have.geometry, have.size):
        before = have.resize, None
    return Target(geometry, size, *before)


def other_reference(preprocessing: Preprocessing, base: Variant) -> str | None:
    """What is to be said where a model was trained on another variant than the reference `base`; None where not."""
    if preprocessing.reference is None:
        return None
    trained = variant(preprocessing.reference, resizes=base.resize is not None)
    if trained.methods == base.methods:
        return None
    theirs, ours = ("+".join(method.token for method in each.methods) for each in (trained, base))
    return (
        f"The model was trained on {theirs}, and the reference of these shards is {ours}: differences are counted from "
        f"pixels that are noise to it already. Shards made with --reference {theirs} are the ones to judge it by."
    )


def _spoken(target: tuple[str, Size]) -> str:
    return " ".join(words(*target))


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
    path = place_of(str(value if "://" in str(value) else folder / value), where)
    try:
        with path.open() as file:
            lines = read_at_most(file, _LARGEST_LABELS).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{where}: {path} cannot be read ({error})") from None
    numbered = {str(label): label for label in range(-1, CLASSES)}
    labels = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if _SYNSET.match(line):
            labels.append(label_by_synset().get(line[:_SYNSET_LENGTH], -1))
        elif line in numbered:
            labels.append(numbered[line])
        elif line:
            raise UsageError(
                f"{path}, line {number}: {line!r} is neither a label from -1 (none) to {CLASSES - 1} nor a synset"
            )
    if not labels:
        raise UsageError(f"{path} is empty: give the label of each of the model's classes, one a line")
    return tuple(labels)


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


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("the name of an output")
    return value


def _side(value: object) -> int | tuple[int, int]:
    whole = _whole(1)
    try:
        if not isinstance(value, list):
            return whole(value)
        first, second = map(whole, value)
        return first, second
    except ValueError:
        raise ValueError("a whole number of at least 1, or two in a list") from None


def _above_0(value: object) -> float:
    number = _share(value)
    if not number:
        raise ValueError("a number above 0 and up to 1")
    return number


def _reference(value: object) -> str:
    try:
        if not isinstance(value, str):
            raise VariantError("no text")
        variant(value)
    except VariantError:
        raise ValueError('a variant of the pixels, such as "pil_bicubic"') from None
    return value


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
    "output": _name,
    "upsample": _one_of("bilinear", "bilinear_corners", "nearest"),
    "head": _one_of(*HEADS),
    "boxes": _one_of("pixels", "shares"),
    "pad": _whole(0, 255),
    "placement": _one_of("top_left", "center"),
    "size": _side,
    "score_threshold": _share,
    "nms_iou": _share,
    "batch": _whole(1),
    "geometry": _one_of(*GEOMETRIES),
    "resize": _whole(1),
    "crop_pct": _above_0,
    "reference": _reference,
}
