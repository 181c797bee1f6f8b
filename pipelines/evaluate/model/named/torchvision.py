"""torchvision's classifiers. Preprocessing is what the weights' `transforms()` does to an image.

`NAME.WEIGHTS`, as resnet50.IMAGENET1K_V1, are weights other than the default ones. Refuses what is no classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.named.built import Built, unknown
from pipelines.evaluate.model.named.checkpoint import load_weights, read_checkpoint
from pipelines.evaluate.model.named.pytorch import fetching, quietly, required

# Networks whose own weights, ported from TensorFlow, want a normalisation of theirs inside (`transform_input`).
_PORTED: Mapping[str, Mapping[str, Any]] = {
    name: {"transform_input": True, "init_weights": False} for name in ("googlenet", "inception_v3")
}


def build(name: str, checkpoint: Path | None) -> Built:
    """As `Library` says."""
    models = required("torchvision.models")
    architecture, _, member = name.partition(".")
    known = models.list_models(module=models)
    if architecture not in known:
        if architecture in models.list_models():
            raise UsageError(
                f"--model torchvision:{name} is no classifier: export it to ONNX yourself, and give the file"
            )
        raise unknown("torchvision", name, known)
    entries = models.get_model_weights(architecture)
    if member and member not in entries.__members__:
        names = ", ".join(entry.name for entry in entries)
        raise UsageError(f"--model torchvision:{name}: {architecture} has the weights {names}, and no other")
    entry = entries[member or "DEFAULT"]
    full = f"torchvision:{architecture}.{entry.name}"
    if checkpoint is not None and architecture in _PORTED:
        raise UsageError(
            f"--checkpoint {checkpoint}: weights of {architecture} do not say whether they want `transform_input`: "
            "export the model to ONNX yourself"
        )
    with quietly():
        module = models.get_model(architecture, weights=None, **_PORTED.get(architecture, {}))
    if checkpoint is None:
        with fetching(full):
            module.load_state_dict(entry.get_state_dict(progress=False, check_hash=True, weights_only=True))
    else:
        load_weights(module, read_checkpoint(checkpoint), checkpoint)
    said = f"{checkpoint.name} does not say how it wants its pixels: that is taken from {full}" if checkpoint else ""
    return Built(
        full if checkpoint is None else f"torchvision:{architecture}",
        module.train(False),
        full if checkpoint is None else str(checkpoint),
        preprocessing(entry.transforms()),
        ("torch", "torchvision"),
        notes=[said] if said else [],
    )


def preprocessing(transforms: Any) -> dict[str, Any]:
    """What torchvision.transforms._presets.ImageClassification does, by the keys of a TOML."""
    (size,), (resize,) = transforms.crop_size, transforms.resize_size
    return {
        "mean": list(transforms.mean),
        "std": list(transforms.std),
        "scale": "1/255",
        "channels": "rgb",
        "layout": "nchw",
        "size": size,
        "geometry": "crop",
        "resize": resize,
        "reference": f"pil_{transforms.interpolation.value}",
    }
