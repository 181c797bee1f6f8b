"""torchvision's classifiers, with the preprocessing of the weights' `transforms()`.

`NAME.WEIGHTS`, such as resnet50.IMAGENET1K_V1, selects other than the default weights. Refuses other kinds of model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.model.named.built import Built, unknown
from pipelines.evaluate.model.named.checkpoint import load_weights, no_preprocessing, read_checkpoint
from pipelines.evaluate.model.named.pytorch import fetching, quietly, required

# Networks whose own weights, ported from TensorFlow, need a normalisation inside the network (`transform_input`).
_PORTED: Mapping[str, Mapping[str, Any]] = {
    name: {"transform_input": True, "init_weights": False} for name in ("googlenet", "inception_v3")
}


def build(name: str, checkpoint: Path | None) -> Built:
    """See `Library`."""
    models = required("torchvision.models")
    architecture, _, member = name.partition(".")
    known = models.list_models(module=models)
    if architecture not in known:
        if architecture in models.list_models():
            raise UsageError(
                f"--model torchvision:{name} is not a classifier: export it to ONNX yourself, and give the file"
            )
        raise unknown("torchvision", name, known)
    entries = models.get_model_weights(architecture)
    if member and member not in entries.__members__:
        names = ", ".join(entry.name for entry in entries)
        raise UsageError(f"--model torchvision:{name}: {architecture} has only the weights {names}: give one of them")
    entry = entries[member or "DEFAULT"]
    full = f"torchvision:{architecture}.{entry.name}"
    if checkpoint is not None and architecture in _PORTED:
        raise UsageError(
            f"--checkpoint {checkpoint}: weights of {architecture} do not state whether they need `transform_input`: "
            "export the model to ONNX yourself"
        )
    with quietly():
        module = models.get_model(architecture, weights=None, **_PORTED.get(architecture, {}))
    if checkpoint is None:
        with fetching(full):
            module.load_state_dict(entry.get_state_dict(progress=False, check_hash=True, weights_only=True))
    else:
        load_weights(module, read_checkpoint(checkpoint), checkpoint)
    return Built(
        full if checkpoint is None else f"torchvision:{architecture}",
        module.train(False),
        full if checkpoint is None else str(checkpoint),
        preprocessing(entry.transforms()),
        ("torch", "torchvision"),
        notes=[no_preprocessing(checkpoint, full)] if checkpoint else [],
    )


def preprocessing(transforms: Any) -> dict[str, Any]:
    """The steps of torchvision.transforms._presets.ImageClassification, by the keys of a TOML."""
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
