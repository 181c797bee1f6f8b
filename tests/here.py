"""A stand-in for Ray and for the process pool: one forked worker does a run's pieces.

Starting Ray's workers, or a pool's, takes most of the time of a short run. Like theirs, this worker is a process that
knows only what it is sent, pickled as Ray or the pool pickles it, and whose output is discarded. For Ray it works in
another folder than the run, as a cluster's workers do.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from ray import cloudpickle

from pipelines.errors import RunError, SysNoiseError, UsageError
from pipelines.text import first_line
from pipelines.work import Finished, Progress, Supply, Work, engine, processes

# The address, in --address or RAY_ADDRESS, of a cluster of one node with two CPUs. Other addresses are real clusters'.
HERE = "here"
_NODE = engine.Node("here", "127.0.0.1", 2)
# A cluster's workers have the folder in which their node was started.
_ELSEWHERE = "/"
Dumps = Callable[[Any], bytes]
_REPLACED = ("start", "stop", "gpus", "nodes", "this_node", "check_nodes", "ask_nodes", "run")


class _Worker:
    """The process, which ends with the one that started it."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        if os.fork() == 0:
            self._pipe.close()
            try:
                _serve(theirs)
            finally:
                os._exit(0)
        theirs.close()

    def steps(
        self, do: Callable[..., Any], *words: Any, folder: str = _ELSEWHERE, dumps: Dumps = cloudpickle.dumps
    ) -> Generator[Any, None, Any]:
        """Run a generator, or call a function, in the worker; yields, returns and raises what it does.

        The worker does so in `folder`, and `dumps` pickles what is sent in both directions.
        """
        self._pipe.send_bytes(dumps((folder, dumps, do, words)))
        while True:
            kind, said = pickle.loads(self._pipe.recv_bytes())
            if kind == "raised":
                raise said
            if kind == "ended":
                return said
            yield said

    def call(self, do: Callable[..., Any], *words: Any) -> Any:
        """Call a function in the worker."""
        steps = self.steps(do, *words)
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        raise TypeError(f"{do} is a generator")


def _serve(pipe: Connection) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    while True:
        try:
            folder, dumps, do, words = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        os.chdir(folder)
        try:
            done = do(*words)
            if isinstance(done, Iterator):
                done = _sent(pipe, done)
            answer = "ended", done
        except Exception as error:
            answer = "raised", error
        pipe.send_bytes(dumps(answer))


def _sent(pipe: Connection, steps: Iterator[Any]) -> Any:
    """Send everything that a generator yields. Returns its return value."""
    while True:
        try:
            said = next(steps)
        except StopIteration as end:
            return end.value
        pipe.send_bytes(pickle.dumps(("said", said)))


class _Engine:
    """The functions of `engine`, done by the worker."""

    def __init__(self, worker: _Worker) -> None:
        self.worker = worker
        self._theirs = {name: getattr(engine, name) for name in _REPLACED}

    def start(self, address: str | None, workers: int | None) -> None:
        if address not in (None, "local", HERE):
            vars(engine).update(self._theirs)
            engine.start(address, workers)

    def stop(self) -> None:
        pass

    def gpus(self) -> int:
        return 0

    def nodes(self, resource: str) -> list[engine.Node]:
        return [_NODE] if resource == "CPU" else []

    def this_node(self) -> str:
        return _NODE.id

    def check_nodes(self, look: Callable[..., str | None], *words: Any, patience: float = 0) -> None:
        try:
            problem = self.worker.call(look, *words)
        except Exception as error:
            problem = first_line(error)
        if problem:
            raise UsageError(f"on the node {_NODE.address}, {problem}")

    def ask_nodes(
        self, of: Sequence[engine.Node], resource: str, do: Callable[..., Any], *words: Any, patience: float = 0
    ) -> dict[engine.Node, Any]:
        try:
            return {node: self.worker.call(do, *words) for node in of}
        except Exception as error:
            return {node: RunError(first_line(error)) for node in of}

    def run(
        self,
        work: Work[Any, Any, Any],
        on_cpus: Supply[Any],
        on_gpus: Supply[Any],
        workers: int | None,
        tick: float,
    ) -> Iterator[Finished[Any, Any] | Progress | None]:
        while (piece := on_cpus.take(workers or _NODE.count)) is not None:
            try:
                result = yield from self._piece(work, piece)
            except SysNoiseError:
                raise
            except Exception as error:
                raise RunError(f"{work.name(piece)} failed: {type(error).__name__}: {error}") from error
            on_cpus.finished(piece, workers or _NODE.count)
            yield Finished(piece, result)

    def _piece(
        self, work: Work[Any, Any, Any], piece: Any, folder: str = _ELSEWHERE, dumps: Dumps = cloudpickle.dumps
    ) -> Generator[Progress, None, Any]:
        steps = self.worker.steps(work.do, piece, work.job, False, folder=folder, dumps=dumps)
        while True:
            try:
                yield Progress(next(steps))
            except StopIteration as end:
                return end.value

    def in_turn(
        self, work: Work[Any, Any, Any], pieces: Sequence[Any], workers: int, tick: float
    ) -> Iterator[Finished[Any, Any] | Progress | None]:
        """As `processes.run`: in the run's folder, with the standard library's pickles, and exceptions as they are."""
        for piece in pieces:
            result = yield from self._piece(work, piece, os.getcwd(), pickle.dumps)
            yield Finished(piece, result)


def install() -> None:
    """Replace Ray and the process pool in this process."""
    here = _Engine(_Worker())
    vars(engine).update({name: getattr(here, name) for name in _REPLACED})
    vars(processes)["run"] = here.in_turn
