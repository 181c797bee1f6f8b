"""The errors that end a run, each with its exit status."""

from __future__ import annotations

from pipelines.text import one_line


class SysNoiseError(Exception):
    """The run cannot continue; the message is the one line that the user sees."""

    exit_status = 3

    def __str__(self) -> str:
        return one_line(super().__str__())


class UsageError(SysNoiseError):
    """The input or the options are wrong; the message says what to do."""

    exit_status = 2


# What to do about a file or folder that another machine cannot see.
SHARE = "give paths that all nodes share, or URIs"


class SourceError(SysNoiseError):
    """The source became unreadable during a run (a lost mount): not recorded as a failure of a sample."""


class RunError(SysNoiseError):
    """The run itself failed (a full disk, a lost worker). Finished shards are kept, and the same command continues."""


class UnfitError(RunError):
    """A node's output differs from what the run needs: its piece, and all later ones, go to other nodes.

    `node` is the node's Ray id.
    """

    def __init__(self, reason: str, node: str) -> None:
        super().__init__(reason, node)
        self.reason, self.node = reason, node

    def __str__(self) -> str:
        return one_line(self.reason)
