"""What the entries have in common: one-line errors, and errors as exit statuses."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from pipelines.errors import SysNoiseError


class Parser(argparse.ArgumentParser):
    """argparse, with mistakes answered in one line instead of the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def exit_status(prog: str, work: Callable[[], int]) -> int:
    """Do the work; errors become a line on stderr and the exit status that stands for them."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to fail
    try:
        status = work()
        sys.stdout.flush()
        return status
    except SysNoiseError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # the reader (`head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = error.filename or "standard output"
        print(f"{prog}: error: {where}: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written cannot be, and has been said
        return 3
    except Exception as error:
        if os.environ.get("SYSNOISE_DEBUG"):
            raise
        name = type(error).__name__
        print(f"{prog}: error: {name}: {error} (unexpected: set SYSNOISE_DEBUG=1 to see where)", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print(f"{prog}: error: stopped", file=sys.stderr)
        return 3


def positive(text: str) -> int:
    """An argument that is a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
