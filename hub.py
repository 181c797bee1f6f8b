#!/usr/bin/env python
"""Push noised sets to the Hugging Face Hub, pull or rebuild them: python hub.py pull ORG/NAME --variant all"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

from pipelines.command import Parser, exit_status, options_of, stop
from pipelines.hub.options import PullOptions, PushOptions, RebuildOptions

_STATUS = (
    "Exit status: 0 all good; 1 a check failed; 2 bad usage or input; 3 the Hub or the run failed (the same command "
    "continues)."
)


def _parser() -> Parser:
    parser = Parser(
        prog="hub.py",
        description="Push noised sets to the Hugging Face Hub, pull them, or rebuild them from their manifests.",
        epilog=_STATUS,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{push,pull,rebuild}")

    def add(name: str, options: type[object], does: str, example: str) -> None:
        epilog = f"python hub.py {name} {example}\n{_STATUS}"
        commands.add_parser(name, options=options, help=does, description=f"{does.capitalize()}.", epilog=epilog)

    add("push", PushOptions, "verify a dataset's shards and push them", "out/coco --repo ORG/noised-coco")
    add(
        "pull",
        PullOptions,
        "download variants and check them as they arrive",
        "ORG/noised-coco --variant pil_lanczos --output pulled",
    )
    add(
        "rebuild",
        RebuildOptions,
        "make published variants from your own source, and compare every pixel",
        "ORG/noised-imagenet --variant all --source /data/val --output rebuilt",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    signal.signal(signal.SIGTERM, stop)
    parser = _parser()
    given = parser.parse_args(arguments)

    def push() -> int:
        from pipelines.hub.push import push

        return push(options_of(given, PushOptions))

    def pull() -> int:
        from pipelines.hub.pull import pull

        return pull(options_of(given, PullOptions))

    def rebuild() -> int:
        from pipelines.hub.rebuild import rebuild

        return rebuild(options_of(given, RebuildOptions))

    work: dict[str, Callable[[], int]] = {"push": push, "pull": pull, "rebuild": rebuild}
    return exit_status(parser.prog, work[given.command])


if __name__ == "__main__":
    sys.exit(main())
