"""What `--paper` stands for where a model is scored: the paper's protocol with the noise in models that is part of it.

With a source it is as `generate.py` has it. Shards that are there are taken with the OpenCV that they have, and refused
where they are not the paper's.
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
    """The options that `--paper` stands for. Raises UsageError where OpenCV or the shards will not do."""
    if is_speech(options):
        raise UsageError("--paper is of images: leave it out with a set of speech")
    if options.inputs.source is None and options.dataset != "sample":
        shards = open_shards(place_of(options.shards, "--shards"))
        _check(shards)
        dataset, opencv = shards.dataset, _opencv_of(shards)
    else:
        (dataset, _), opencv = dataset_at(options), nearest_opencv()
    geometry = target(dataset, options.target)
    return replace(options, paper=False, variants=(group(opencv),), reference=REFERENCE, target=geometry)


def _check(shards: Shards) -> None:
    """Raises UsageError where shards have another reference or geometry than the paper."""
    geometry = str(target(shards.dataset, Target()).geometry)
    base = reference(REFERENCE, resizes=geometry != "identity")
    wanted = {"reference": "+".join(method.token for method in base.methods), "geometry": geometry}
    for what, theirs in wanted.items():
        if (here := shards.config[what]) != theirs:
            raise UsageError(
                f"{shards.root} has shards whose {what} is {here}, and the paper's is {theirs}: make the paper's with "
                "generate.py --paper, or leave --paper out"
            )


def _opencv_of(shards: Shards) -> str | None:
    """The version of OpenCV in these shards, the first of several; None where no variant names one."""
    distribution = LIBRARIES["OpenCV"].distribution
    for variant in shards.variants.values():
        for method in filter(None, map(find, variant.stages.values())):
            if isinstance(method.library, Release) and method.library.distribution == distribution:
                return method.library.version
    return None
