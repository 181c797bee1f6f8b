"""What `--paper` means when a model is scored: the paper's protocol, including its noise in models.

With a source it means the same as for `generate.py`. Existing shards are taken with the version of OpenCV that made
them, and refused if they do not follow the paper.
"""

from __future__ import annotations

from dataclasses import replace

from generators.registry import LIBRARIES, Release, find
from generators.variant import reference
from pipelines.errors import UsageError
from pipelines.evaluate.making import dataset_at, is_speech
from pipelines.evaluate.options import Options
from pipelines.generate.paper import REFERENCE, group, nearest_opencv, target
from pipelines.options import Target
from pipelines.shards import Shards, open_shards
from pipelines.store import place_of


def paper(options: Options) -> Options:
    """The options that `--paper` stands for. Raises UsageError if OpenCV or the shards are unsuitable."""
    if is_speech(options):
        raise UsageError("--paper applies only to images: leave it out with a set of speech")
    if options.inputs.source is None and options.dataset != "sample":
        shards = open_shards(place_of(options.shards, "--shards"))
        _check(shards)
        dataset, opencv = shards.dataset, _opencv_of(shards)
    else:
        (dataset, _), opencv = dataset_at(options), nearest_opencv()
    geometry = target(dataset, options.target)
    return replace(options, paper=False, variants=(group(opencv),), reference=REFERENCE, target=geometry)


def _check(shards: Shards) -> None:
    """Raises UsageError if the shards' reference or geometry is not the paper's."""
    geometry = str(target(shards.dataset, Target()).geometry)
    base = reference(REFERENCE, resizes=geometry != "identity")
    wanted = {"reference": "+".join(method.token for method in base.methods), "geometry": geometry}
    for what, theirs in wanted.items():
        if (here := shards.config[what]) != theirs:
            raise UsageError(
                f"the {what} of the shards in {shards.root} is {here}, but the paper's is {theirs}: make the paper's "
                "shards with generate.py --paper, or leave --paper out"
            )


def _opencv_of(shards: Shards) -> str | None:
    """The version of OpenCV in these shards, the first if there are several; None if no variant names one."""
    distribution = LIBRARIES["OpenCV"].distribution
    for variant in shards.variants.values():
        for method in filter(None, map(find, variant.stages.values())):
            if isinstance(method.library, Release) and method.library.distribution == distribution:
                return method.library.version
    return None
