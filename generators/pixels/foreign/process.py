"""A process that calls a library for this one as long as needed: started, fed, restarted and killed here.

`retry` handles calls whose process dies. A process that does not start is not an image's fault.
"""

from __future__ import annotations

import json
import select
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from generators.method import LostError
from generators.pixels.foreign.memory import Blocks, kind_of
from generators.pixels.retry import TIMEOUT, Died, retried

# Timeout for importing a library, in seconds.
START = 300.0


class StartError(LostError):
    """The process does not start: its environment is broken. The message is one line."""


class Process:
    """A process that starts with its first call. Calls are thread-safe, one at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._running: _Running | None = None

    def call(self, function: str, *arguments: Any, **options: Any) -> NDArray[Any]:
        """Call a function of the library with encoded bytes, an image or samples, and further arguments.

        The result is an image for bytes and images, and a float32 array for samples. Further arguments are passed as
        JSON, dataclasses as objects.

        Raises ValueError with the library's reason, MemoryError, and StartError.
        """
        with self._lock:
            return retried(lambda: self._call(function, arguments, options))

    def versions(self) -> dict[str, str]:
        """The versions that the library reports for itself and its codecs. Raises StartError."""
        with self._lock:
            return self._started().versions

    def close(self) -> None:
        """End the process; the next call starts it again."""
        with self._lock:
            self._stop()

    def _call(self, function: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> NDArray[Any]:
        try:
            return self._started().call(function, arguments, options)
        except (ValueError, MemoryError):
            raise
        except BaseException:  # it has ended, or its unread answer would be taken for the next call's
            self._stop()
            raise

    def _started(self) -> _Running:
        if self._running is None:
            self._running = _Running(self._command)
        return self._running

    def _stop(self) -> None:
        if self._running:
            self._running.kill()
            self._running = None


class _Running:
    """A running process, and the memory that it shares with this one."""

    def __init__(self, command: Sequence[str]) -> None:
        self._blocks = Blocks()
        self._read = b""
        with tempfile.TemporaryFile() as stderr:
            self._process = _open(command, stderr)
            self._end = weakref.finalize(self, _end, self._process)  # also if this object is dropped
            assert self._process.stdin
            assert self._process.stdout
            self._stdin, self._stdout = self._process.stdin, self._process.stdout
            try:
                hello = self._answer(START)
            except Died as ended:
                self.kill()
                stderr.seek(0)
                lines = stderr.read().decode(errors="replace").strip().splitlines()
                raise StartError(lines[-1] if lines else str(ended) or "it was killed") from None
        if "error" in hello:
            self.kill()
            raise StartError(hello["error"])
        self.versions: dict[str, str] = hello["versions"]

    def call(self, function: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> NDArray[Any]:
        """As `Process.call`, without retries."""
        first, *others = arguments
        kind = kind_of(first)
        given, made = self._blocks.take(), self._blocks.take()
        try:
            shape = None if isinstance(first, bytes) else kind.shape(first)
            data = first if isinstance(first, bytes) else np.ascontiguousarray(first).data.cast("B")
            given.view(len(data))[:] = data
            dropped = self._blocks.forgotten()
            request = {
                "function": function,
                "given": [given.number, len(data), shape],
                "arguments": others,
                "options": dict(options),
                "made": made.number,
                "item": kind.size,
                "forget": [block.number for block in dropped],
            }
            self._send(request)
            answer = self._answer(TIMEOUT)
            del dropped  # closed only now, since their descriptors may then be reused
        finally:
            self._blocks.give(given)
        if "shape" in answer:
            return self._blocks.array(made, kind, answer["shape"])
        self._blocks.give(made)
        if "memory" in answer:
            raise MemoryError
        raise ValueError(answer["error"])

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self._end()

    def _send(self, request: Mapping[str, Any]) -> None:
        try:
            self._stdin.write(json.dumps(request, default=asdict).encode() + b"\n")
        except BrokenPipeError:
            raise Died(self._ending()) from None

    def _answer(self, timeout: float) -> dict[str, Any]:
        """The next line that the process writes. Raises Died."""
        until = time.monotonic() + timeout
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        while b"\n" not in self._read:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise Died(f"gave no answer within {timeout:.0f} s")
            more = self._stdout.read(65536)
            if not more:
                raise Died(self._ending())
            self._read += more
        line, _, self._read = self._read.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ending(self) -> str:
        """How the process ended; empty if it was killed from outside."""
        status = self._process.wait()
        if status == -signal.SIGKILL:
            return ""
        return f"ended its process ({signal.Signals(-status).name if status < 0 else f'exit status {status}'})"


def _open(command: Sequence[str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0)
    except OSError as error:
        raise StartError(f"{command[0]}: {error.strerror}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream
        stream.close()
