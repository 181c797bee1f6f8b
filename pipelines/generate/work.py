"""What a worker does for a run of generate.py: makes a piece, or checks its machine."""

from __future__ import annotations

import faulthandler
from collections.abc import Generator

from pipelines.errors import SHARE, SysNoiseError
from pipelines.generate.isolate import find_lethal
from pipelines.generate.machines import refuse_unfit
from pipelines.generate.releases import check_here
from pipelines.generate.schedule import Piece
from pipelines.generate.shard import Job, Join, join_shard, make_shard
from pipelines.generate.sources import Missing, Sample


def make(piece: Piece, job: Job, careful: bool, limit: float) -> Generator[int, None, int]:
    """Do a piece within `limit` seconds, or end this process. Behaves like `make_shard`; joining returns 0.

    When `careful`, calls that end the process are looked for first and skipped. Raises UnfitError if this machine would
    make other bytes than the run requires.
    """
    lethal = find_lethal(piece, job) if careful and not isinstance(piece, Join) else {}
    # This watchdog needs no cooperation: it ends the process even if a library never returns.
    faulthandler.dump_traceback_later(limit, exit=True, file=2)
    try:
        if isinstance(piece, Join):
            join_shard(piece, job)
            return 0
        check_here(method for variant in (job.config.base, *piece.variants) for method in variant.methods)
        refuse_unfit(job, piece.variants)
        return (yield from make_shard(piece, job, lethal))
    finally:
        faulthandler.cancel_dump_traceback_later()


def problem_here(job: Job, sample: Sample) -> str | None:
    """What is wrong with the run's paths or custom programs on this machine; None if nothing is."""
    for method in job.config.methods:
        if problem := method.problem():
            return f"{method.token} {problem}"
    if not job.output.is_seen():
        return f"--output {job.output.root.parent} is not the same folder there: {SHARE}"
    try:
        found = next(iter(job.source.read([sample])))
    except SysNoiseError as error:
        return f"the source cannot be read there ({error}): {SHARE}"
    return f"the source cannot be read there ({found.reason}): {SHARE}" if isinstance(found, Missing) else None
