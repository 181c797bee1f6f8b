"""How sets are described to people: the words for images and recordings, and for their residuals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from generators.geometry import CROPPED
from manifests.images import CLASSIFIED, LABEL_MAP, extension_of
from manifests.mels import MEL, SPOKEN, TEXT
from manifests.splits import TRAIN, VALIDATION

Values = Mapping[str, Any]
_OF_SPLITS = {VALIDATION: "Validation", TRAIN: "Training"}


@dataclass(frozen=True)
class Wording:
    """The words for one kind of set.

    `sample` names what a source has, `item` what a shard has, `result` the item's values, and `one` a single value.
    `headings` and `figures` are for tables of residuals, and `legend` explains them. `made` begins a card, `about`
    gives the size of results, and `members` lists the members of a sample besides `json`.
    """

    sample: str
    item: str
    result: str
    one: str
    made: str
    headings: tuple[str, ...]
    figures: Callable[[Values], tuple[str, ...]]
    legend: str
    about: Callable[[Values], str]
    members: Callable[[Values], list[str]]

    @property
    def alike(self) -> str:
        """What degenerate variants have in common."""
        return f"Same {self.result} on every {self.sample}"

    def made_of(self, dataset: str, split: str) -> str:
        """What a set consists of, in one phrase."""
        return self.made.format(dataset=dataset, split=_OF_SPLITS[split])


def wording(dataset: str) -> Wording:
    """The words for a dataset's sets."""
    return _SPEECH if dataset in SPOKEN else _IMAGES


def _image_figures(residual: Values) -> tuple[str, ...]:
    return f"{residual['mean_abs']:.3f}", str(residual["max_abs"]), f"{residual['changed']:.1%}"


def _mel_figures(residual: Values) -> tuple[str, ...]:
    return f"{residual['mse']:.3g}", f"{residual['max_abs']:.3g}", f"{residual['frames']:,}"


def _geometry(summary: Values) -> str:
    geometry = summary["geometry"]
    sides = geometry["size"]
    if not sides:
        return f"Geometry: `{geometry['name']}`."
    between = " of " if geometry["name"] in CROPPED else ","
    written = between.join(map(str, sides)) if isinstance(sides, list) else sides
    return f"Geometry: `{geometry['name']}`, size {written}."


def _spectrogram(summary: Values) -> str:
    mel = summary["mel"]
    return (
        f"`{MEL}`: float32, {mel['bands']} bands of {mel['low']:g} to {mel['high']:g} Hz × frames, natural logarithm; "
        f"{mel['rate']:,} Hz, windows of {mel['window']:,} samples, {mel['hop']} apart."
    )


def _image_members(config: Values) -> list[str]:
    label = ["cls"] if config["dataset"] in CLASSIFIED else []
    label_map = [LABEL_MAP] if config["dataset"] == "cityscapes" else []
    return [extension_of(config["image_format"]), *label_map, *label]


def _mel_members(_: Values) -> list[str]:
    return [MEL, TEXT]


_IMAGES = Wording(
    sample="image",
    item="image",
    result="pixels",
    one="pixel",
    made="{split} images of `{dataset}`, decoded, resized and colour-converted by different libraries",
    headings=("mean |Δ|", "max |Δ|", "changed"),
    figures=_image_figures,
    legend="|Δ|: absolute difference from the reference ({}), in steps of 0 to 255.",
    about=_geometry,
    members=_image_members,
)
_SPEECH = Wording(
    sample="recording",
    item="spectrogram",
    result="values",
    one="value",
    made="Mel spectrograms of `{dataset}`, resampled and transformed by different libraries",
    headings=("MSE", "max |Δ|", "other length"),
    figures=_mel_figures,
    legend="MSE and |Δ|: mean squared and absolute difference from the reference ({}), of natural logarithms, over the "
    "frames that both have; other length: the number of recordings with more or fewer frames.",
    about=_spectrogram,
    members=_mel_members,
)
