"""Reads a few bytes here and there of a file in a store, as for a tar's headers, adapting to what it sees.

If the gap between two headers is larger than what a store sends in the time of a request, each header is fetched
separately; if it is smaller, everything is fetched in consecutive blocks.
"""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from pipelines.store import BLOCK, Pieces, PiecesFile, Remote

# Bytes that a store sends in about the time that it takes to answer one request.
_WORTH_A_REQUEST = 2**20
# Bytes enough for a header, the small members after the previous image, and their headers.
_HEADERS = 2**16


def open_headers(place: Remote) -> BinaryIO:
    """The file, to be read forwards. Raises FileNotFoundError if it does not exist."""
    return cast("BinaryIO", io.BufferedReader(_Headers(place.pieces()), BLOCK))


class _Headers(PiecesFile):
    """The raw file below a buffered reader, which asks for a block whenever its buffer is empty."""

    def __init__(self, pieces: Pieces) -> None:
        super().__init__(pieces)
        self._began = self._ended = 0
        self._alone = True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # as PiecesFile has it
        """Reads only part of the buffer's size if a header is worth its own request."""
        at = self.tell()
        if self._ended:
            # The number of headers in a block is unknown: only the gap after its end is known to be unwanted.
            passed = at - (self._began if self._alone else self._ended)
            self._alone = passed >= _WORTH_A_REQUEST
        read = super().readinto(buffer[:_HEADERS] if self._alone else buffer)
        self._began, self._ended = at, at + read
        return read
