"""What a worker does for a run of generate.py: makes a shard, or says what is wrong with its machine."""

from __future__ import annotations

import faulthandler

from pipelines.errors import SHARE, SysNoiseError
from pipelines.generate.isolate import find_lethal
from pipelines.generate.machines import refuse_unfit
from pipelines.generate.releases import check_here
from pipelines.generate.shard import Job, Task, make_shard
from pipelines.generate.sources import Missing, Sample


def make(task: Task, job: Job, careful: bool, limit: float) -> int:
    """Make a shard within `limit` seconds, or end this process; how many of its samples failed.

    When `careful`, it is made without the calls that end the process, which are looked for first. Raises UnfitError
    where this machine would make other bytes than the run is to have.
    """
    lethal = find_lethal(task, job) if careful else {}
    # A watch that needs no cooperation: it ends the process also where a library never returns.
    faulthandler.dump_traceback_later(limit, exit=True, file=2)
    try:
        check_here(method for variant in (job.config.base, *task.variants) for method in variant.methods)
        refuse_unfit(job, task.variants)
        return make_shard(task, job, lethal)
    finally:
        faulthandler.cancel_dump_traceback_later()


def problem_here(job: Job, sample: Sample) -> str | None:
    """What is wrong with the run's places, or the programs of its own methods, as this machine sees them."""
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
