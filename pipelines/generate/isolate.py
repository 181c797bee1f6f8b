"""Finds the calls that end their process: a decoder that aborts on one image, a filter that never returns.

A worker that died has left no reason. Its shard is rendered again here, in separate processes that report each call
before making it. The call during which a process died is tried again on its own, and blamed if it dies twice. If it
takes more than one sample to make a process die, the samples are split in halves. Nothing is written.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

from pipelines.errors import RunError
from pipelines.generate.calls import Call
from pipelines.generate.shard import Job, Task
from pipelines.generate.sources import Sample

# Seconds that one call may take. The slowest known, a 179-megapixel image through Lanczos, needs a few.
SILENCE = 120.0
# Seconds allowed between two calls: to start a process, or to read from a store that does not answer.
_PAUSE = 900.0
# Attempts for a process that something outside keeps killing.
_KILLED = 3

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Each attempt is forked from a process that has these imported, since imports would take most of its time. That process
# ends with the worker. (Ray is imported because a child imports its worker's main module, which is Ray's.)
_PRELOADED = ["ray", "pipelines.generate.work"]
_DONE = "done"


class _Death(NamedTuple):
    """The call that a process was making when it died, and how it died."""

    call: Call
    how: str


def find_lethal(task: Task, job: Job) -> dict[Call, str]:
    """The calls of a task that end their process, each with the reason to record.

    Raises RunError if processes are repeatedly killed from outside.
    """
    lethal: dict[Call, str] = {}
    _search(task.samples, task, job, lethal)
    return lethal


def _search(samples: Sequence[Sample], task: Task, job: Job, lethal: dict[Call, str]) -> None:
    while samples and (death := _attempt(samples, task, job, lethal)):
        at = next(index for index, sample in enumerate(samples) if sample.key == death.call.key)
        if _is_lethal(samples[at], task, job, lethal):
            samples = samples[at + 1 :]
        elif len(samples) > 1:
            half = len(samples) // 2
            _search(samples[:half], task, job, lethal)
            samples = samples[half:]
        else:
            return  # it died once and not again: nothing to blame


def _is_lethal(sample: Sample, task: Task, job: Job, lethal: dict[Call, str]) -> bool:
    """Whether a sample on its own ends its process twice; the calls responsible are added to `lethal`."""
    found = False
    seen: set[Call] = set()
    while death := _attempt([sample], task, job, lethal):
        if death.call in lethal:
            raise RunError(f"shard {task.shard}: {sample.path} ends its process ({death.how}), whatever is skipped")
        if death.call in seen:
            lethal[death.call] = death.how
            found = True
        seen.add(death.call)
    return found


def _attempt(samples: Sequence[Sample], task: Task, job: Job, lethal: Mapping[Call, str]) -> _Death | None:
    """Render samples in a separate process; None if it survives."""
    for _ in range(_KILLED):
        death = _watch(samples, task, job, lethal)
        if death is None or death.how:
            return death
        killed = death.call.key
    raise RunError(
        f"shard {task.shard}: the process that renders {killed} is killed repeatedly (out of memory?): "
        "use fewer --workers, and run the same command again"
    )


def _watch(samples: Sequence[Sample], task: Task, job: Job, lethal: Mapping[Call, str]) -> _Death | None:
    """One attempt. For a process that was killed from outside, `how` is empty."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_render, args=(theirs, samples, task, job, lethal), daemon=True)
    process.start()
    theirs.close()
    last, calling = Call(samples[0].key, "source"), False
    try:
        while ours.poll(SILENCE if calling else _PAUSE):
            message = ours.recv()
            if message == _DONE:
                return None
            if isinstance(message, Exception):
                raise message
            last, calling = (message, True) if message else (last, False)
        if not calling:
            raise RunError(f"shard {task.shard}: nothing was read for {_PAUSE:.0f} s after {last.key}: run it again")
        return _Death(last, f"gave no answer within {SILENCE:.0f} s")
    except EOFError:
        process.join()
        return _Death(last, _how(process.exitcode or 0))
    finally:
        process.kill()
        process.join()
        ours.close()


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return ""
    return f"ended the process ({signal.Signals(-status).name if status < 0 else f'exit status {status}'})"


def _render(parent: Connection, samples: Sequence[Sample], task: Task, job: Job, lethal: Mapping[Call, str]) -> None:
    """Runs in the separate process. It sends each call before making it, None after it, and finally that it is done."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a hung call must not outlive a worker that is killed
    try:
        for _ in job.render(task, samples, lethal, parent.send):
            pass
        parent.send(_DONE)
    except SystemExit as lost:  # a GPU that fails on everything is not an image's fault
        parent.send(RunError(str(lost)))
    except Exception as error:
        parent.send(error)
