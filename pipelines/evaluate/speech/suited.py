"""Which options apply to sets of speech: options for images are refused by name before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from pipelines.errors import UsageError
from pipelines.evaluate.options import Options, Stated
from pipelines.options import is_named

# The default of --examples, the number of samples that a report on images shows.
_EXAMPLES = 6


def check_suited(options: Options) -> None:
    """Raises UsageError for the first option that does not apply to speech."""
    flag = next((f"--{name.replace('_', '-')}" for name, value in _of_images(options) if value), None)
    if flag:
        raise UsageError(f"{flag} applies only to images: leave it out with a set of speech")
    if is_named(options.model):
        raise UsageError(f"--model {options.model} is an image model: give an ONNX file that takes mels or ids")
    if options.ids is not None and options.model is None:
        raise UsageError("--ids applies only with --model: leave it out with --predictions")


def _of_images(options: Options) -> Iterator[tuple[str, Any]]:
    for field in fields(Stated):
        yield field.name, getattr(options.stated, field.name) is not None
    yield "preprocessing", options.noise.preprocessing
    yield "checkpoint", options.noise.checkpoint
    yield "labels", options.inputs.labels
    yield "annotations", options.inputs.annotations
    yield "class_offset", options.class_offset is not None
    yield "iou_type", options.iou_type
    yield "boxes", options.boxes
    yield "allow_empty", options.allow_empty
    yield "paper", options.paper
    yield "method", options.methods
    yield "device", options.device != "cpu"
    yield "example", options.example
    yield "examples", options.examples != _EXAMPLES
    for field in fields(options.target):
        yield field.name, field.name != "sample_rate" and getattr(options.target, field.name) is not None
