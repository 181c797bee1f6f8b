#!/usr/bin/env python
"""Check shards: python verify.py out/sample"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.command import Parser, exit_status, group, option, options_of, stop
from pipelines.options import Cluster, Inputs, method_option

_EXAMPLES = """\
python verify.py out/imagenet
python verify.py out/imagenet/pil_lanczos --render --source /data/val --labels val.txt
Exit status: 0 all good; 1 a problem was found; 2 bad usage; 3 the check itself failed."""


@dataclass(frozen=True)
class Options:
    """What to check."""

    path: str = option("an output folder, a dataset in it, or one variant; a path or URI", flag="PATH")
    render: bool = option("render again from the source and compare pixels", default=False)
    page: bool = option("write index.html, if all is well, as generate.py does at the end of a run", default=False)
    no_pictures: bool = option("leave parts of the images out of it", default=False)
    inputs: Inputs = group(
        Inputs,
        "with --render",
        source="where the source images are",
        labels="their labels, as for generate.py",
        annotations="their COCO annotations",
    )
    methods: tuple[str, ...] = method_option("a program that the shards were made with, as for generate.py")
    cluster: Cluster = group(Cluster)


def _parser() -> Parser:
    return Parser(
        Options,
        prog="verify.py",
        description="Read every shard, decode every image and check it against the manifest. With --render, also "
        "render from the source again and compare pixels.",
        epilog=_EXAMPLES,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    signal.signal(signal.SIGTERM, stop)
    parser = _parser()
    options = options_of(parser.parse_args(arguments), Options)
    if options.no_pictures and not options.page:
        parser.error("--no-pictures applies only with --page")

    def work() -> int:
        from pipelines.store import place_of  # imported here: mistakes in the arguments are reported without it
        from pipelines.verify import verify

        place = place_of(options.path, "PATH")
        status = verify(place, options.render, options.inputs, options.cluster, options.methods)
        if options.page and not status:
            from pipelines.page.write import write_pages

            return write_pages(place, pictures=not options.no_pictures)
        return status

    return exit_status(parser.prog, work)


if __name__ == "__main__":
    sys.exit(main())
