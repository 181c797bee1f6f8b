"""The command lines of `hub.py`, one for each of its commands, checked only as far as argparse does."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.command import group, option
from pipelines.options import Cluster, Inputs, method_option


@dataclass(frozen=True)
class PushOptions:
    """What to push, and who may see it; None for `gated` is the dataset's default."""

    path: str = option("a dataset's folder, such as out/imagenet; a path or URI", flag="PATH")
    repo: str = option("the repository to push to", required=True, metavar="ORG/NAME")
    variants: tuple[str, ...] = option("only these; default: all", default=(), flag="--variant", metavar="NAME")
    manifests_only: bool = option("push manifests and hashes, but no pixels", default=False)
    gated: bool | None = option("require readers to accept the images' terms")
    public: bool = option("make the repository public; default: private", default=False)
    has_the_right: bool = option(
        "make images public although their terms forbid it", default=False, flag="--i-have-the-right-to"
    )
    cluster: Cluster = group(Cluster)


@dataclass(frozen=True)
class PullOptions:
    """What to download, and to where."""

    repo: str = option("a dataset's repository", flag="ORG/NAME")
    variants: tuple[str, ...] = option("repeatable; or all", required=True, flag="--variant", metavar="NAME")
    output: str = option("a path or URI; default: %(default)s", default="out", metavar="DIR")
    revision: str | None = option("a branch, tag or commit; default: main", metavar="R")
    cluster: Cluster = group(Cluster)


@dataclass(frozen=True)
class RebuildOptions(PullOptions):
    """What to rebuild, to where, and from which source."""

    inputs: Inputs = group(
        Inputs,
        under="images",
        source="where the source images or recordings are",
        labels="their labels, as for generate.py",
        annotations="their COCO annotations",
    )
    methods: tuple[str, ...] = method_option("a program that they were made with, as for generate.py")
