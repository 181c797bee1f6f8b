"""The shards that suit a model: the geometry, size and reference that its preprocessing asks for.

Refuses shards of another geometry than the preprocessing states.
"""

from __future__ import annotations

from dataclasses import replace

from generators.geometry import CROPPED, GEOMETRIES, Size
from generators.variant import Variant
from generators.variant import reference as variant
from pipelines.datasets import DATASETS
from pipelines.errors import UsageError
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.generate.config import size_from_json
from pipelines.generate.target import choose_geometry, words
from pipelines.options import Target
from pipelines.progress import say
from pipelines.shards import Shards

# The geometry of a resize or crop_pct without a stated geometry.
_CROP = "crop"


def wanted_geometry(preprocessing: Preprocessing, target: Target, dataset: str) -> Target:
    """The target of new shards for a model: from the command line, and otherwise from its TOML.

    The TOML's `resize` belongs to its size and geometry: if the command line has others, it is ignored.
    """
    geometry = target.geometry or preprocessing.geometry
    size = target.size or _shards_size(preprocessing.size, geometry or DATASETS[dataset].geometry)
    resize, crop_pct = target.resize, target.crop_pct
    if resize is None and crop_pct is None and (target.geometry is None or target.geometry in CROPPED):
        resize = preprocessing.resize if target.size is None else None
        crop_pct = preprocessing.crop_pct
    return Target(geometry, size, resize, crop_pct)


def overruled(preprocessing: Preprocessing, target: Target) -> Preprocessing:
    """A copy without its geometry if the command line asks for another one, which is reported.

    The size is kept: it is that of the model's input.
    """
    theirs = preprocessing.geometry or _CROP
    if target.geometry in (None, theirs):
        return preprocessing
    if preprocessing.geometry is not None:
        say(f"the preprocessing asks for --geometry {theirs}; {target.geometry} is used, as the command line asks")
    return replace(preprocessing, geometry=None, resize=None, crop_pct=None)


def _shards_size(size: int | tuple[int, int] | None, geometry: str) -> Size | None:
    """A TOML's size as `--size`: keep_ratio's two sides may be stated as one."""
    if isinstance(size, int):
        return (size, size) if geometry == "keep_ratio" else (size,)
    return size


def check_geometry(shards: Shards, preprocessing: Preprocessing) -> None:
    """Raises UsageError, with the command that makes the right shards, if these are not what a model's TOML states.

    Only stated keys are compared. A size without a geometry is not: it is the input's, which every image is checked
    against.
    """
    if preprocessing.geometry is None and preprocessing.resize is None and preprocessing.crop_pct is None:
        return
    have = str(shards.config["geometry"]), size_from_json(shards.config["size"])
    chosen = choose_geometry(shards.dataset, target_like(preprocessing, Target(), shards.dataset, Target.of(*have)))
    if chosen != have:
        raise UsageError(
            f"the model's preprocessing asks for shards of {_spoken(chosen)}, and {shards.root} has {_spoken(have)}: "
            f"make the right ones with {shards.command(list(shards.variants), chosen)}"
        )


def target_like(preprocessing: Preprocessing, target: Target, dataset: str, have: Target) -> Target:
    """The target for a model; whatever is neither asked for nor stated is taken, if possible, from shards that `have`
    their own.
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
    """A warning if the model was trained on another variant than the reference `base`; else None."""
    if preprocessing.reference is None:
        return None
    trained = variant(preprocessing.reference, resizes=base.resize is not None)
    if trained.methods == base.methods:
        return None
    theirs, ours = ("+".join(method.token for method in each.methods) for each in (trained, base))
    return (
        f"The model was trained on {theirs}, but the reference of these shards is {ours}: differences are measured "
        f"from pixels that are already noise to it. Judge it by shards made with --reference {theirs}."
    )


def _spoken(target: tuple[str, Size]) -> str:
    return " ".join(words(*target))
