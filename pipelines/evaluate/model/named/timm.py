"""timm's classifiers, with the preprocessing of `pretrained_cfg` at the size that timm's validate.py tests at.

Refuses models without a classifier, and preprocessing that no geometry here can match.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.named.built import Built, unknown
from pipelines.evaluate.model.named.checkpoint import load_weights, no_preprocessing, read_checkpoint
from pipelines.evaluate.model.named.pytorch import fetching, quietly, required
from pipelines.generate.sources.labels import CLASSES, label_by_synset

# timm's words for how an image becomes the input (timm.data.transforms_factory: crop_mode).
_GEOMETRIES: Mapping[str, str] = {"center": "crop", "squash": "squash"}


def build(name: str, checkpoint: Path | None) -> Built:
    """See `Library`."""
    timm = required("timm")
    architectures = timm.list_models()
    tagged = timm.list_models(include_tags=True)
    if name not in architectures and name not in tagged:
        raise unknown("timm", name, [*architectures, *tagged])
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.num_classes:
        raise UsageError(f"--model timm:{name} has no classifier, only features: there is nothing to score")
    full = f"timm:{config.architecture}.{config.tag}" if config.tag else f"timm:{name}"
    stated, notes = preprocessing(name, config)
    if checkpoint is None:
        if not config.has_weights:
            raise UsageError(f"timm has no weights for {name}: give --checkpoint FILE")
        with fetching(full):
            module = timm.create_model(name, pretrained=True, exportable=True)
        classes, weights = int(config.num_classes), full
    else:
        tensors = read_checkpoint(checkpoint)
        classes = _classes(config, tensors)
        with quietly():
            module = timm.create_model(name, num_classes=classes, exportable=True)
        load_weights(module, tensors, checkpoint)
        weights = str(checkpoint)
        notes = [no_preprocessing(checkpoint, full), *notes]
    labels = None
    if classes == CLASSES + 1:
        stated["class_offset"] = 1
        notes.append(f"{classes:,} classes: the first is read as the background")
    elif classes != CLASSES:
        labels, note = _labels(classes)
        notes.append(note)
    return Built(
        full if checkpoint is None else f"timm:{name}",
        module.train(False),
        weights,
        stated,
        ("timm", "torch"),
        labels,
        notes,
    )


def _classes(config: Any, tensors: Mapping[str, Any]) -> int:
    """The number of classes in a checkpoint's classifier; the model's if the checkpoint has none."""
    found = tensors.get(f"{config.classifier}.weight")
    return int(config.num_classes if found is None else found.shape[0])


def preprocessing(name: str, config: Any) -> tuple[dict[str, Any], list[str]]:
    """A model's preprocessing in timm, by the keys of a TOML, and notes. Raises UsageError if no shards match it."""
    data = required("timm.data").resolve_data_config(pretrained_cfg=config.to_dict(), use_test_size=True)
    channels, height, width = data["input_size"]
    # A share above 1 is a crop larger than the image, which needs padding.
    if channels != 3 or height != width or data["crop_mode"] not in _GEOMETRIES or data["crop_pct"] > 1:
        raise UsageError(
            f"--model timm:{name} takes {width}x{height} pixels with {channels} channels, by crop_mode "
            f"{data['crop_mode']} and crop_pct {data['crop_pct']}, which no shards have: export it to ONNX yourself"
        )
    stated = {
        "mean": list(data["mean"]),
        "std": list(data["std"]),
        "scale": "1/255",
        "channels": "rgb",
        "layout": "nchw",
        "size": height,
        "geometry": _GEOMETRIES[data["crop_mode"]],
        "crop_pct": data["crop_pct"],
        "reference": f"pil_{data['interpolation']}",
    }
    trained = config.input_size[-1]
    notes = [f"{name} is tested at {height} pixels, as in timm; it was trained at {trained}"]
    return stated, notes if trained != height else []


def _labels(classes: int) -> tuple[list[int] | None, str]:
    """The ImageNet label of each class of another label space (None if it is unknown), and a note."""
    data = required("timm.data")
    subset = data.infer_imagenet_subset({"num_classes": classes})
    if subset is None:
        return None, f"timm does not say what the {classes:,} classes are: give --class-labels FILE"
    known = label_by_synset()
    labels = [known.get(synset, -1) for synset in data.ImageNetInfo(subset).label_names()]
    known_classes = sum(label >= 0 for label in labels)
    lacking = CLASSES - known_classes
    missed = f"; images of the other {lacking} cannot be predicted right" if lacking else ""
    return labels, f"{classes:,} classes, those of {subset}, {known_classes:,} of them among ImageNet's 1,000{missed}"
