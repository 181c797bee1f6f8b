"""An external program as a library: run once for each image, which it reads from stdin and writes to stdout.

Encoded bytes or a binary PPM (Netpbm's P6, maxval 255) go in, a binary PPM comes out. Both lie in files in memory, so
that a program may read and write them as it likes. One that fails is a ValueError, in one line; what becomes of one
that hangs or dies is said in `outlive`. Refuses whatever it puts out that is not one whole image of the right size.
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
from generators.pixels.outlive import PATIENCE, Died, outlive
from generators.registry import Image

# What a shell says of a command that SIGKILL has ended.
_KILLED_IN_A_SHELL = 128 + signal.SIGKILL

# Netpbm's ppm(5) and pbm(5): what is from a # to the end of its line is a comment, but for the line's end. Where one
# follows the maxval at once, its line's end is or is not the white space before the pixels, by two readings of pbm(5).
_GAP = rb"(?:[ \t\r\n]|#[^\r\n]*[\r\n])+"
_NUMBER = rb"0*([1-9][0-9]{0,9})"
_HEADER = re.compile(
    rb"P6" + _GAP + _NUMBER + _GAP + _NUMBER + _GAP + _NUMBER + rb"(?:[ \t\r\n]|#[^\r\n]*[\r\n][ \t\r\n]?)"
)
_LONGEST_HEADER = 2**16
_MOST_BYTES = _LONGEST_HEADER + 3 * MAX_PIXELS
# What is kept of the end of stderr, and shown of its last line.
_SAID, _SHOWN = 4096, 200


def decode(words: Sequence[str], folder: str, data: bytes) -> Image:
    """The image that a program makes of an encoded one. Raises ValueError and MemoryError."""
    return _image(_run(words, folder, data))


def resize(words: Sequence[str], folder: str, image: Image, width: int, height: int) -> Image:
    """The image that a program makes of another for this size, which its words `{width}` and `{height}` stand for.

    Raises ValueError and MemoryError.
    """
    filled = [word.replace("{width}", str(width)).replace("{height}", str(height)) for word in words]
    return _of_size(_image(_run(filled, folder, *_ppm(image))), width, height)


def color(words: Sequence[str], folder: str, image: Image) -> Image:
    """The image that a program makes of another of its size. Raises ValueError and MemoryError."""
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
    """The image of a PPM, RGB of shape (height, width, 3), on the memory that holds it."""
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
    """What a program puts out for what it is given."""
    return outlive(lambda: _run_once(words, folder, given))


def _run_once(words: Sequence[str], folder: str, given: Sequence[bytes | memoryview]) -> mmap.mmap:
    """As `_run`. Raises Died."""
    with _memory() as stdin, _memory() as stdout:
        for part in given:
            stdin.write(part)
        stdin.seek(0)
        with _started(words, folder, stdin, stdout) as process:
            said = _wait(process)
        size = os.fstat(stdout.fileno()).st_size
        if size >= _MOST_BYTES:
            raise ValueError(f"put out more than an image of {MAX_PIXELS:,} pixels has")
        _check(process.returncode, _last_line(said, words))
        if not size:
            raise ValueError("put out nothing")
        return mmap.mmap(stdout.fileno(), size, access=mmap.ACCESS_COPY)


def _memory() -> BinaryIO:
    """A file in memory, without a name."""
    return open(os.memfd_create("sysnoise", os.MFD_CLOEXEC), "w+b")


@functools.cache
def _mortal() -> tuple[str, ...]:
    """What has a program die with this process, however that ends: setpriv (of util-linux), where it is installed.

    Python can only do this by code of its own between fork and exec, which is not safe beside threads.
    """
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


@contextlib.contextmanager
def _started(words: Sequence[str], folder: str, stdin: BinaryIO, stdout: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs, as the first of a group of processes: none of them does so at the end."""
    try:
        process = subprocess.Popen(
            [*_mortal(), *words], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=folder, start_new_session=True
        )
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.ENOMEM):
            raise MemoryError(f"cannot be started ({error.strerror})") from None
        raise ValueError(f"cannot be started ({error.strerror})") from None
    try:
        with contextlib.suppress(PermissionError):  # who has set a lower limit is obeyed
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_MOST_BYTES, _MOST_BYTES))
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the group is there until its first process is waited for
        process.wait()
        assert process.stderr
        process.stderr.close()


def _wait(process: subprocess.Popen[bytes]) -> bytes:
    """The end of what a program says on stderr until it ends. Raises Died where it does not in time."""
    assert process.stderr
    stderr = process.stderr.fileno()
    said = b""
    until = time.monotonic() + PATIENCE
    poll = select.poll()
    ended = os.pidfd_open(process.pid)
    try:
        poll.register(ended, select.POLLIN)  # asked first: what an ended process has said is there
        poll.register(stderr, select.POLLIN)
        while (left := until - time.monotonic()) > 0:
            events = dict(poll.poll(left * 1000))
            if stderr in events:
                more = os.read(stderr, 2**16)  # all that fits into a pipe
                said = (said + more)[-_SAID:]
                if not more:
                    poll.unregister(stderr)
            if ended in events:
                return said
        raise Died(f"gave no answer within {PATIENCE:.0f} s")
    finally:
        os.close(ended)


def _check(status: int, said: str) -> None:
    """Raises Died or ValueError for a status that is not 0."""
    more = f": {said}" if said else ""
    if status in (-signal.SIGKILL, _KILLED_IN_A_SHELL):
        raise Died("")
    if status < 0:
        raise Died(f"was ended by {signal.Signals(-status).name}{more}")
    if status:
        raise ValueError(f"exit status {status}{more}")


def _last_line(said: bytes, words: Sequence[str]) -> str:
    """The last line on stderr, without what differs from run to run and from machine to machine."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
    line = next((line for line in reversed(lines) if line), "")
    for word in words:
        if os.path.isabs(word):
            line = line.replace(word, os.path.basename(word))
    return re.sub(r"\b0x[0-9a-fA-F]+", "0x…", line)[:_SHOWN]
