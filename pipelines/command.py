"""What the entries have in common: one-line errors, errors as exit statuses, and nothing that steers a terminal.

Names and reasons that are shown may be from files that anybody made.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn, TextIO

from pipelines.errors import SysNoiseError
from pipelines.text import one_line, printable


class Parser(argparse.ArgumentParser):
    """argparse, with mistakes answered in one line instead of the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


class _Printable(io.TextIOBase):
    """Standard output, without what could steer a terminal."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(printable(text))

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


def exit_status(prog: str, work: Callable[[], int]) -> int:
    """Do the work; errors become a line on stderr and the exit status that stands for them."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to fail
    try:
        with contextlib.redirect_stdout(_Printable(sys.stdout)):
            status = work()
            sys.stdout.flush()
        return status
    except SysNoiseError as error:
        _tell(prog, str(error))
        return error.exit_status
    except BrokenPipeError:  # the reader (`head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = error.filename or "standard output"
        _tell(prog, f"{where}: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written cannot be, and has been said
        return 3
    except Exception as error:
        if os.environ.get("SYSNOISE_DEBUG"):
            raise
        name = type(error).__name__
        _tell(prog, f"{name}: {error} (unexpected: set SYSNOISE_DEBUG=1 to see where)")
        return 3
    except KeyboardInterrupt:
        _tell(prog, "stopped")
        return 3


def _tell(prog: str, what: str) -> None:
    print(f"{prog}: error: {one_line(what)}", file=sys.stderr)


def positive(text: str) -> int:
    """An argument that is a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
