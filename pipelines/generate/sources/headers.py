"""A file in a store from which a little is wanted here and there, as a tar's headers are: fetched by what is seen.

Where what lies between two headers is larger than what a store sends while it answers a request, each is fetched alone;
where it is smaller, all of it is fetched in blocks, one after the other.
"""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from pipelines.store import BLOCK, Pieces, PiecesFile, Remote

# Bytes that a store sends about as fast as it answers one request.
_WORTH_A_REQUEST = 2**20
# Bytes that hold a header, the small members behind the image before it, and their headers.
_HEADERS = 2**16


def open_headers(place: Remote) -> BinaryIO:
    """The file, to be read forwards. Raises FileNotFoundError where it is not there."""
    return cast("BinaryIO", io.BufferedReader(_Headers(place.pieces()), BLOCK))


class _Headers(PiecesFile):
    """What a buffered reader asks for when it has not got what it is to read next."""

    def __init__(self, pieces: Pieces) -> None:
        super().__init__(pieces)
        self._began = self._ended = 0
        self._alone = True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # as PiecesFile has it
        """Reads a part of what is asked for where a header is worth a request of its own."""
        at = self.tell()
        if self._ended:
            # Of a block it is not known how many headers were in it: only what lay behind it was not wanted.
            passed = at - (self._began if self._alone else self._ended)
            self._alone = passed >= _WORTH_A_REQUEST
        read = super().readinto(buffer[:_HEADERS] if self._alone else buffer)
        self._began, self._ended = at, at + read
        return read
