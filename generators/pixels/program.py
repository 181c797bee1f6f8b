"""An external program as a library: run once for each image, which it reads from stdin and writes to stdout.

It reads encoded bytes or a binary PPM (Netpbm's P6, maxval 255), and writes a binary PPM. Both are files in memory, so
a program may read and write them in any order. A failure is a ValueError with a one-line reason; `retry` handles
programs that hang or crash. Refuses any output other than one complete image of the right size.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from generators.geometry import MAX_PIXELS
from generators.method import Image
from generators.pixels.retry import TIMEOUT, Died, retried

# The exit status of a shell whose command was ended by SIGKILL.
_KILLED_IN_A_SHELL = 128 + signal.SIGKILL

# Netpbm's ppm(5) and pbm(5): a comment is everything from # up to the end of the line, not including it. If one
# directly follows the maxval, pbm(5) leaves open whether its line end is also the white space before the pixels.
_GAP = rb"(?:[ \t\r\n]|#[^\r\n]*[\r\n])+"
_NUMBER = rb"0*([1-9][0-9]{0,9})"
_HEADER = re.compile(
    rb"P6" + _GAP + _NUMBER + _GAP + _NUMBER + _GAP + _NUMBER + rb"(?:[ \t\r\n]|#[^\r\n]*[\r\n][ \t\r\n]?)"
)
_LONGEST_HEADER = 2**16
_MOST_BYTES = _LONGEST_HEADER + 3 * MAX_PIXELS
# How many bytes of the end of stderr are kept, and characters of its last line shown.
_KEPT, _SHOWN = 4096, 200


def decode(words: Sequence[str], folder: str, data: bytes) -> Image:
    """The image that a program makes of an encoded image. Raises ValueError and MemoryError."""
    return _image(_run(words, folder, data))


def resize(words: Sequence[str], folder: str, image: Image, width: int, height: int) -> Image:
    """The image that a program makes of another, at the size put in for `{width}` and `{height}` in its words.

    Raises ValueError and MemoryError.
    """
    filled = [word.replace("{width}", str(width)).replace("{height}", str(height)) for word in words]
    return _of_size(_image(_run(filled, folder, *_ppm(image))), width, height)


def color(words: Sequence[str], folder: str, image: Image) -> Image:
    """The image of the same size that a program makes of another. Raises ValueError and MemoryError."""
    height, width = image.shape[:2]
    return _of_size(_image(_run(words, folder, *_ppm(image))), width, height)


def _ppm(image: Image) -> tuple[bytes, memoryview]:
    height, width = image.shape[:2]
    return f"P6\n{width} {height}\n255\n".encode(), np.ascontiguousarray(image).data.cast("B")


def _of_size(image: Image, width: int, height: int) -> Image:
    if image.shape[:2] != (height, width):
        raise ValueError(f"put out {image.shape[1]}x{image.shape[0]} where {width}x{height} was to be made")
    return image


def _image(output: mmap.mmap) -> Image:
    """The image in a PPM, RGB of shape (height, width, 3), as a view of its memory."""
    start = output[:_LONGEST_HEADER]
    header = _HEADER.match(start)
    if not header:
        raise ValueError(f"put out no binary PPM of 8 bits (P6): it begins with {start[:8]!r}")
    width, height, most = map(int, header.groups())
    if most != 255:
        raise ValueError(f"put out a PPM with a maxval of {most}, and not of 255")
    if width * height > MAX_PIXELS:
        raise ValueError(f"put out an image of more than {MAX_PIXELS:,} pixels")
    pixels = 3 * width * height
    first = len(output) - pixels
    if not _HEADER.fullmatch(start, 0, max(first, 0)):
        more = first - header.end()
        what = f"{more:,} bytes after the pixels" if more > 0 else f"{-more:,} bytes too few"
        raise ValueError(f"put out an image of {width}x{height} with {what}")
    return np.frombuffer(output, np.uint8, pixels, first).reshape(height, width, 3)


def _run(words: Sequence[str], folder: str, *given: bytes | memoryview) -> mmap.mmap:
    """A program's output for an input."""
    return retried(lambda: _run_once(words, folder, given))


def _run_once(words: Sequence[str], folder: str, given: Sequence[bytes | memoryview]) -> mmap.mmap:
    """As `_run`, without retries. Raises Died."""
    with _memory() as stdin, _memory() as stdout:
        for part in given:
            stdin.write(part)
        stdin.seek(0)
        with _started(words, folder, stdin, stdout) as process:
            stderr_end = _wait(process)
        size = os.fstat(stdout.fileno()).st_size
        if size >= _MOST_BYTES:
            raise ValueError(f"put out more than an image of {MAX_PIXELS:,} pixels has")
        _check(process.returncode, _last_line(stderr_end, words))
        if not size:
            raise ValueError("put out nothing")
        return mmap.mmap(stdout.fileno(), size, access=mmap.ACCESS_COPY)


def _memory() -> BinaryIO:
    """An anonymous file in memory."""
    return open(os.memfd_create("sysnoise", os.MFD_CLOEXEC), "w+b")


@functools.cache
def _die_with_parent() -> tuple[str, ...]:
    """The command prefix that makes a program die with this process: setpriv (of util-linux), if it is installed.

    In Python this takes code between fork and exec, which is not safe with threads.
    """
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


@contextlib.contextmanager
def _started(words: Sequence[str], folder: str, stdin: BinaryIO, stdout: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
    """A running program, in its own process group, of which nothing survives the context."""
    try:
        process = subprocess.Popen(
            [*_die_with_parent(), *words],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=folder,
            start_new_session=True,
        )
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.ENOMEM):
            raise MemoryError(f"cannot be started ({error.strerror})") from None
        raise ValueError(f"cannot be started ({error.strerror})") from None
    try:
        with contextlib.suppress(PermissionError):  # a lower limit is already set
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_MOST_BYTES, _MOST_BYTES))
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the group exists until its first process is waited for
        process.wait()
        assert process.stderr
        process.stderr.close()


def _wait(process: subprocess.Popen[bytes]) -> bytes:
    """The end of a program's stderr, once it has ended. Raises Died on a timeout."""
    assert process.stderr
    stderr = process.stderr.fileno()
    stderr_end = b""
    until = time.monotonic() + TIMEOUT
    poll = select.poll()
    ended = os.pidfd_open(process.pid)
    try:
        poll.register(ended, select.POLLIN)  # polled first, so that all of an ended process's stderr is read
        poll.register(stderr, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            events = dict(poll.poll(left * 1000))
            if stderr in events:
                more = os.read(stderr, 2**16)  # a pipe holds no more
                stderr_end = (stderr_end + more)[-_KEPT:]
                if not more:
                    poll.unregister(stderr)
            if ended in events:
                return stderr_end
        raise Died(f"gave no answer within {TIMEOUT:.0f} s")
    finally:
        os.close(ended)


def _check(status: int, message: str) -> None:
    """Raises Died or ValueError for an exit status other than 0."""
    more = f": {message}" if message else ""
    if status in (-signal.SIGKILL, _KILLED_IN_A_SHELL):
        raise Died("")
    if status < 0:
        raise Died(f"was ended by {signal.Signals(-status).name}{more}")
    if status:
        raise ValueError(f"exit status {status}{more}")


def _last_line(stderr_end: bytes, words: Sequence[str]) -> str:
    """The last line on stderr, without addresses and folders, which differ between runs and machines."""
    lines = [line.strip() for line in stderr_end.decode(errors="replace").splitlines()]
    line = next((line for line in reversed(lines) if line), "")
    for word in words:
        if os.path.isabs(word):
            line = line.replace(word, os.path.basename(word))
    return re.sub(r"\b0x[0-9a-fA-F]+", "0x…", line)[:_SHOWN]
