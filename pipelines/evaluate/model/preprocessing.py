"""How a model's input is made and its outputs are read: stated in a small TOML file beside it, never guessed.

For `m.onnx` it is `m.toml`; command-line options override it. Every model needs these five keys:

    mean = [0.485, 0.456, 0.406]  # x = (pixel * scale - mean) / std, in the model's order of channels
    std = [0.229, 0.224, 0.225]
    scale = "1/255"               # a number or a fraction
    channels = "rgb"              # or "bgr"
    layout = "nchw"               # or "nhwc"

and some need a few of these:

    class_offset = 1              # how many classes (background) precede ImageNet's 1,000 or COCO's 80
    labels = "labels.txt"         # the dataset's label of each of the model's classes, one per line; see below
    output = "logits"             # classifiers, segmentation: which output to read, if several could be read
    upsample = "bilinear"         # segmentation: how outputs are resized to the shards' size, as by PyTorch's
                                  # interpolate; or "bilinear_corners" (align_corners=True), or "nearest"
    head = "yolox"                # detectors: how outputs are decoded; default: recognised from the outputs
    boxes = "pixels"              # detectors: or "shares" of the input; default: recognised from the first image
    pad = 114                     # detectors: the pixel value around images smaller than the input ...
    placement = "top_left"        # ... and where the image is in it; or "center"
    score_threshold = 0.01        # detectors: boxes with lower scores are dropped; default: the head's
    nms_iou = 0.65                # detectors: boxes that overlap more are suppressed; default: the head's
    batch = 8                     # images at a time; default 1, as outputs of some int8 models depend on it
    size = 416                    # the input's side, if the model leaves it open, and the --size of its shards;
                                  # or [800, 1333] for keep_ratio, or [width, height]

These say how its shards are made, by the names of generate.py's options:

    geometry = "crop"
    resize = 235                  # the side before the centre crop, in pixels ...
    crop_pct = 0.95               # ... or as a share, as in timm: floor(size / crop_pct)
    reference = "pil_bicubic"     # the variant that it was trained on, with which others should be compared

A line of `labels` is a label (ImageNet's 0-999, COCO's category ids, Cityscapes' train ids 0-18), -1 for a class that
the dataset lacks, or a synset, optionally followed by a name: `n01440764 tench`. So lists of ImageNet-21k's synsets
work unchanged.

Refuses missing and unknown keys, and values of the wrong kind.
"""

from __future__ import annotations

import difflib
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from generators.geometry import GEOMETRIES
from pipelines.errors import UsageError
from pipelines.evaluate.model import toml_values
from pipelines.evaluate.model.class_labels import read_labels
from pipelines.evaluate.model.heads import HEADS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Preprocessing:
    """x = (pixel * scale - mean) / std for pixels of 0 to 255, and how outputs are read; see the module's docstring.

    `mean` and `std` are in the model's order of channels. `labels` has the dataset's label of each of the model's
    classes, -1 for none. `head` and `boxes` are None if the outputs decide them; the thresholds apply only with a
    `head`, and `nms_iou` is None for one without suppression. The other keys are None if they are not stated.
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
        """The stated width and height of an input that the model leaves open; None if not stated."""
        if isinstance(self.size, int):
            return self.size, self.size
        return self.size if self.geometry == "stretch" else None

    def of_predictions(self) -> dict[str, Any]:
        """The values that predictions depend on, without those that only decide shards.

        `size` only decides shards unless it is the frame in which images are padded.
        """
        of_shards = {"geometry", "resize", "crop_pct", "reference"}
        if self.frame is None or (self.head is None and self.pad is None):
            of_shards.add("size")
        return {name: value for name, value in asdict(self).items() if name not in of_shards}


# The option for `labels`, since --labels is another one.
_CLASS_LABELS = "class_labels"
# An example line for each required key.
_NEEDED: Mapping[str, str] = {
    "mean": "mean = [0.485, 0.456, 0.406]",
    "std": "std = [0.229, 0.224, 0.225]",
    "scale": 'scale = "1/255"',
    "channels": 'channels = "rgb"',
    "layout": 'layout = "nchw"',
}


def read_preprocessing(model: Path, given: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing of a model, from its TOML: `given["preprocessing"]`, or the model's name with .toml.

    Values in `given` under the TOML's keys override it, unless they are None. Paths in a TOML are relative to it.
    Raises UsageError for missing and unknown keys, and values of the wrong kind.
    """
    if not model.is_file():
        raise UsageError(f"--model {model} is not a file: give an ONNX or TFLite file, timm:NAME or torchvision:NAME")
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
        raise UsageError(f"the preprocessing of {model.name} is incomplete: add to {path} lines such as {lines}")
    if values.get("class_offset") and "labels" in values:
        raise UsageError(f"{model.name}: class_offset and labels both map classes to labels: give one of them")
    if "resize" in values and "crop_pct" in values:
        raise UsageError(f"{path}: resize and crop_pct both set the side before the crop: give one of them")
    thresholds = [key for key in ("score_threshold", "nms_iou") if key in values]
    if thresholds and "head" not in values:
        raise UsageError(f"{model.name}: {' and '.join(thresholds)} would change a head's defaults: give head as well")
    if "head" in values:
        head = HEADS[values["head"]]
        values = {"score_threshold": head.score_threshold, "nms_iou": head.nms_iou, **values}
    return Preprocessing(**values)


def check_distinct(preprocessing: Preprocessing) -> None:
    """Raises UsageError if two of a model's classes have the same label."""
    counts = Counter(label for label in preprocessing.labels or () if label >= 0)
    twice = next((label for label, count in counts.items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"labels has the label {twice} more than once: two outputs cannot be the same class")


def _from_toml(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read as TOML ({reason})") from None
    for key in found:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys are {', '.join(_KEYS)}"
            raise UsageError(f"{path} has an unknown key {key!r}: {hint}")
    return {key: _parsed(key, value, f"{path}: {key}", path.parent) for key, value in found.items()}


def _parsed(key: str, value: object, where: str, folder: Path) -> Any:
    if key == "labels":
        return read_labels(value, where, folder)
    try:
        return _KEYS[key](value)
    except ValueError as error:
        raise UsageError(f"{where} must be {error}, not {value!r}") from None


_KEYS: Mapping[str, Callable[[object], Any]] = {
    "mean": toml_values.three,
    "std": toml_values.three_positive,
    "scale": toml_values.scale,
    "channels": toml_values.one_of("rgb", "bgr"),
    "layout": toml_values.one_of("nchw", "nhwc"),
    "class_offset": toml_values.whole(0),
    "labels": str,  # a path, which `read_labels` reads
    "output": toml_values.output_name,
    "upsample": toml_values.one_of("bilinear", "bilinear_corners", "nearest"),
    "head": toml_values.one_of(*HEADS),
    "boxes": toml_values.one_of("pixels", "shares"),
    "pad": toml_values.whole(0, 255),
    "placement": toml_values.one_of("top_left", "center"),
    "size": toml_values.side,
    "score_threshold": toml_values.share,
    "nms_iou": toml_values.share,
    "batch": toml_values.whole(1),
    "geometry": toml_values.one_of(*GEOMETRIES),
    "resize": toml_values.whole(1),
    "crop_pct": toml_values.positive_share,
    "reference": toml_values.pixel_variant,
}
