"""The command line of `generate.py`, checked no further than argparse does."""

from __future__ import annotations

from dataclasses import dataclass

from generators.variant import DEFAULT_OF_SPEECH, DEFAULT_REFERENCE
from manifests.splits import SPLITS, VALIDATION
from pipelines.command import group, option, positive, whole
from pipelines.options import (
    Cluster,
    Inputs,
    Noise,
    Target,
    dataset_option,
    limit_option,
    method_option,
    paper_option,
)


@dataclass(frozen=True)
class Options:
    """The options of a run. None means the default of the dataset or the machine."""

    variants: tuple[str, ...] = option(
        "what to make: repeatable; comma lists and groups; 'pil_box-*': several versions",
        default=(),
        flag="--variant",
        metavar="VARIANT",
        under="variants",
    )
    seed: int | None = option("for the draws of mix_decode and mix_resize; default: 0", type=whole, metavar="N")
    reference: str = option(f"default: {DEFAULT_REFERENCE}; speech: {DEFAULT_OF_SPEECH}", default="", metavar="VARIANT")
    paper: bool = paper_option()
    methods: tuple[str, ...] = method_option("your own program as a method; repeatable")
    list_variants: bool = option("show every method, and whether it can run here", default=False)
    dataset: str = dataset_option("default: %(default)s, which is built in", "sample")
    inputs: Inputs = group(Inputs)
    split: str = option("which ImageNet split; default: %(default)s", default=VALIDATION, choices=SPLITS)
    limit: int | None = limit_option()
    target: Target = group(Target)
    output: str = option(
        "a folder, or s3://, gs:// URI; default: %(default)s", default="out", metavar="PATH", under="shards"
    )
    samples_per_shard: int | None = option("default: 1000; coco: 400; cityscapes: 200", type=positive, metavar="N")
    image_format: str | None = option("default: png", choices=("png", "png_stored", "webp", "npy"))
    overwrite: bool = option("replace variants that were made in another way", default=False)
    model: str | None = option(
        "an ONNX file, timm:NAME or torchvision:NAME, to make noised copies of",
        metavar="FILE",
        under="noise in a model",
    )
    noise: Noise = group(Noise)
    cluster: Cluster = group(Cluster)
    images_per_task: int | None = option(
        "images in a worker's task; default: decreasing, so that all finish together", type=positive, metavar="N"
    )
    shard_timeout: int = option(
        "seconds that a task may take; default: %(default)s", default=3600, type=positive, metavar="S"
    )
    no_pictures: bool = option("leave parts of the images out of index.html", default=False)
    dry_run: bool = option("show the plan with expected bytes, and write nothing", default=False)
