"""The errors that end a run, each with the exit status that the command line gives for it."""

from __future__ import annotations


class SysNoiseError(Exception):
    """A run cannot go on; the message is the one line that the user sees."""

    exit_status = 3


class UsageError(SysNoiseError):
    """The input or the options are at fault; the message says what to do."""

    exit_status = 2


class RunError(SysNoiseError):
    """The run itself failed (a full disk, a lost worker); whole shards are kept and the same command continues."""
