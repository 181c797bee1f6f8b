"""Where predictions are made: in this process, or on Ray's workers, each with a CPU, or a GPU and its share of CPUs.

Predictions do not depend on it. Workers write parts of predictions into the output, which they must all see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from pipelines.errors import SHARE, SysNoiseError
from pipelines.evaluate.model.pieces import Job, Outcome, Piece, work
from pipelines.evaluate.model.runtimes import runtime_of
from pipelines.evaluate.predictions import ABOUT
from pipelines.options import cpus
from pipelines.progress import TICK, say
from pipelines.text import first_line
from pipelines.work import Finished, InTurn, Work
from pipelines.work.cluster import Ray

# The assumed number of CPUs of a cluster that is not joined yet.
_IN_A_CLUSTER = 16


class Done(NamedTuple):
    """A finished piece, and the outcome of each model on it, by key."""

    piece: Piece
    outcomes: Mapping[str, Outcome]


class Workers(Protocol):
    """Predicts pieces; see `Here` and `OnRay`."""

    @property
    def number(self) -> int:
        """How many work at a time; an estimate before a cluster is joined."""
        ...

    def versions(self, model: Path, device: str) -> dict[str, str]:
        """The versions of a model's runtime. Raises UsageError if it is missing, or cannot use the device."""
        ...

    def work(self, job: Job, pieces: Iterator[Piece], count: int) -> Iterator[Done | int]:
        """Predict the pieces, at most `count`: yields each when it is finished, in any order, and in between numbers of
        predicted images. Raises what `pieces.work` does.
        """
        ...


class Here:
    """This process."""

    number = 1

    def versions(self, model: Path, device: str) -> dict[str, str]:
        return runtime_of(model).versions(device)

    def work(self, job: Job, pieces: Iterator[Piece], count: int) -> Iterator[Done | int]:
        job = replace(job, threads=cpus() if job.device == "cuda" else 1)
        for piece in pieces:
            yield Done(piece, (yield from work(piece, job, careful=False)))


HERE = Here()


class OnRay:
    """The workers of a cluster, or of a local Ray, which is started only for more than one piece."""

    def __init__(self, ray: Ray) -> None:
        self._ray = ray

    @property
    def number(self) -> int:
        return self._ray.cluster.workers or (_IN_A_CLUSTER if self._ray.cluster.address else cpus())

    def versions(self, model: Path, device: str) -> dict[str, str]:
        if device == "cpu" or not self._ray.cluster.address:
            return HERE.versions(model, device)
        versions: dict[str, str] = self._ray.engine().ask_gpu(HERE.versions, model, device)
        return versions

    def work(self, job: Job, pieces: Iterator[Piece], count: int) -> Iterator[Done | int]:
        address, workers = self._ray.cluster.address, self._ray.cluster.workers
        if count < 2 and not address:
            yield from HERE.work(job, pieces, count)
            return
        if not self._ray.running:
            say(f"joining Ray at {address}" if address else "starting Ray")
        engine = self._ray.engine()
        if address:
            engine.check_nodes(_problem_here, job, _sees(job))
        on_gpus = job.device == "cuda"
        if on_gpus:
            job = replace(job, threads=max(1, cpus() // max(1, engine.gpus())))
        none = InTurn[Piece]()
        lanes = (none, InTurn(pieces)) if on_gpus else (InTurn(pieces), none)
        for done in engine.run(Work(work, job, _called), *lanes, workers, TICK):
            if isinstance(done, Finished):
                yield Done(done.piece, done.result)
            else:
                yield done.images if done else 0


def _called(piece: Piece) -> str:
    return f"images {piece.first:,} to {piece.stop - 1:,} of shard {piece.shard}"


def _sees(job: Job) -> dict[str, str]:
    """By path, what shows that nodes see the same files: the text of this run's record, and the sizes of the models."""
    models = {cell.model.path for cell in job.cells.values()}
    about = job.folder.with_name(ABOUT)
    return {str(about): about.read_text(encoding="utf-8"), **{str(path): f"{path.stat().st_size}" for path in models}}


def _problem_here(job: Job, expected: Mapping[str, str]) -> str | None:
    """What is wrong with the shards and the output as this node sees them; None if nothing is."""
    try:
        found = _sees(job)
        next(job.shards.stored(job.shards.reference.name), None)
    except (OSError, SysNoiseError) as error:
        return f"not everything to score can be read ({first_line(error)}): {SHARE}"
    other = next((path for path, content in expected.items() if found[path] != content), None)
    return f"{other} is not the same file there: {SHARE}" if other else None
