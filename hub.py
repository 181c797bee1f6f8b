#!/usr/bin/env python
"""Push noised sets to the Hugging Face Hub, pull them, or make them again: python hub.py pull ORG/NAME --variant all"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.command import Parser, exit_status, positive


def _parser() -> Parser:
    parser = Parser(
        prog="hub.py",
        description="Push noised sets to the Hugging Face Hub, pull them, or make them again from their manifests.",
        epilog="Exit status: 0 all good; 1 something does not agree; 2 bad usage or input; 3 the Hub or the run failed "
        "(the same command continues).",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{push,pull,rebuild}")
    push = commands.add_parser("push", help="verify a dataset's shards and push them")
    push.add_argument("path", metavar="PATH", help="a dataset's folder, as out/imagenet")
    push.add_argument("--repo", required=True, metavar="ORG/NAME")
    push.add_argument("--variant", action="append", default=[], metavar="NAME", help="only these; default: all")
    push.add_argument("--manifests-only", action="store_true", help="push manifests and hashes, and no pixel")
    push.add_argument("--gated", action="store_true", default=None, help="ask readers to accept the images' terms")
    push.add_argument("--public", action="store_true", help="let everybody see it; default: private")
    push.add_argument("--i-have-the-right-to", action="store_true", help="make images public whose terms forbid it")
    cpus = len(os.sched_getaffinity(0))
    push.add_argument("--workers", type=positive, default=cpus, metavar="N", help="for verifying; default: all CPUs")
    pull = commands.add_parser("pull", help="download variants and check them while they arrive")
    rebuild = commands.add_parser("rebuild", help="make published variants again, and compare every pixel")
    for command in (pull, rebuild):
        command.add_argument("repo", metavar="ORG/NAME")
        command.add_argument("--variant", action="append", required=True, metavar="NAME", help="repeatable; or all")
        command.add_argument("--output", default="out", metavar="DIR", help="default: %(default)s")
        command.add_argument("--revision", metavar="R", help="a branch, tag or commit; default: main")
    rebuild.add_argument("--source", metavar="PATH", help="where the source images lie")
    rebuild.add_argument("--labels", metavar="FILE", help="their labels, as for generate.py")
    rebuild.add_argument("--annotations", metavar="FILE", help="their COCO annotations")
    rebuild.add_argument("--workers", type=positive, metavar="N", help="CPUs to use; default: all")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)

    def push() -> int:
        from pipelines.hub.push import PushOptions, push

        return push(
            PushOptions(
                path=Path(given.path),
                repo=given.repo,
                variants=tuple(given.variant),
                manifests_only=given.manifests_only,
                gated=given.gated,
                public=given.public,
                has_the_right=given.i_have_the_right_to,
                workers=given.workers,
            )
        )

    def pull() -> int:
        from pipelines.hub.pull import PullOptions, pull

        return pull(PullOptions(given.repo, tuple(given.variant), Path(given.output), given.revision))

    def rebuild() -> int:
        from pipelines.generate.run import stop
        from pipelines.generate.sources.find import Inputs
        from pipelines.hub.rebuild import RebuildOptions, rebuild

        signal.signal(signal.SIGTERM, stop)
        inputs = Inputs(given.source, given.labels, given.annotations)
        output = Path(given.output).absolute()
        return rebuild(RebuildOptions(given.repo, tuple(given.variant), inputs, output, given.revision, given.workers))

    return exit_status(parser.prog, {"push": push, "pull": pull, "rebuild": rebuild}[given.command])


if __name__ == "__main__":
    sys.exit(main())
