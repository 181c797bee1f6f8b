#!/usr/bin/env python
"""Make noised shards: python generate.py --variant pil_lanczos"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from generators.geometry import GEOMETRIES, Size
from generators.variant import DEFAULT_REFERENCE
from pipelines.command import Parser, exit_status, positive
from pipelines.generate import report
from pipelines.generate.datasets import DATASETS, parse_size
from pipelines.generate.encode import FORMATS
from pipelines.generate.run import Options, generate, stop
from pipelines.generate.sources.find import Inputs


def _size(text: str) -> Size:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> Parser:
    parser = Parser(
        prog="generate.py",
        description="Render validation images through variants of decoder, resize and colour conversion into "
        "WebDataset shards with manifests.",
        epilog="Exit status: 0 all good; 1 some images failed (see the manifest); 2 bad usage or input; 3 the run "
        "failed (the same command continues).",
    )
    add = parser.add_argument
    add("--variant", action="append", metavar="VARIANT", help="what to make; repeatable, comma lists and groups")
    add("--dataset", choices=tuple(DATASETS), default="sample", help="default: %(default)s, which is built in")
    add(
        "--source",
        metavar="PATH",
        help="where the images lie: a folder, .tar, .parquet or .zip; a path or s3://, gs:// URI",
    )
    add("--labels", metavar="FILE", help="a `name label` list, or the devkit's ground truth")
    add("--annotations", metavar="FILE", help="COCO-format annotations (with --dataset coco)")
    add("--output", metavar="PATH", default="out", help="a folder, or s3://, gs:// URI; default: %(default)s")
    add("--geometry", choices=tuple(GEOMETRIES), help="default: crop; coco: keep_ratio; cityscapes: identity")
    add("--size", type=_size, metavar="N", help="pixels: N, SHORT,LONG or WxH; default: 224, 800,1333, 640 (letterbox)")
    add("--reference", metavar="VARIANT", default=DEFAULT_REFERENCE, help="default: %(default)s")
    add("--samples-per-shard", type=positive, metavar="N", help="default: 1000; coco: 400; cityscapes: 200")
    add("--image-format", choices=FORMATS, default="png", help="default: %(default)s")
    add("--limit", type=positive, metavar="N", help="only the first N of the sorted samples")
    add("--workers", type=positive, metavar="N", help="CPUs to use; default: all")
    add("--shard-timeout", type=positive, default=3600, metavar="S", help="seconds a shard may take; default: 3600")
    add("--overwrite", action="store_true", help="replace the asked variants where something else has made them")
    add("--address", help="a Ray cluster; default: RAY_ADDRESS, or a local Ray")
    add("--list-variants", action="store_true", help="show every method, and whether it can run here")
    add("--dry-run", action="store_true", help="show the plan with expected bytes, and write nothing")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    signal.signal(signal.SIGTERM, stop)
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.list_variants:
        print(report.variants_table())
        return 0
    if not given.variant:
        parser.error("what to make? Give --variant, as in --variant pil_lanczos; see --list-variants")
    options = Options(
        variants=tuple(given.variant),
        dataset=given.dataset,
        inputs=Inputs(given.source, given.labels, given.annotations),
        output=given.output,
        geometry=given.geometry,
        size=given.size,
        reference=given.reference,
        samples_per_shard=given.samples_per_shard,
        image_format=given.image_format,
        limit=given.limit,
        workers=given.workers,
        overwrite=given.overwrite,
        address=given.address or os.environ.get("RAY_ADDRESS") or None,
        dry_run=given.dry_run,
        shard_timeout=given.shard_timeout,
    )
    return exit_status(parser.prog, lambda: generate(options))


if __name__ == "__main__":
    sys.exit(main())
