"""Compares a recording rendered again with the spectrogram in a shard: bit by bit on a machine that makes the same of
the probe recordings, and within the promised tolerance on others.
"""

from __future__ import annotations

import tarfile
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from manifests.mels import MEL, TOLERANCE, MelRow
from manifests.row import Row
from manifests.untrusted import Tar
from manifests.verify import Problem, decode_mel
from pipelines.generate.given import Rendered


class Held:
    """The spectrograms of a shard's tar, read in the order of its rows. With `exact`, none may differ."""

    def __init__(self, file: BinaryIO, *, exact: bool) -> None:
        self._tar, self._exact = Tar(file), exact

    def differences(self, where: str, row: Row, rendered: Rendered) -> list[Problem]:
        """The differences of the next spectrogram; none if it failed both times."""
        if rendered.files is None:
            return []
        try:
            held, made = self._next(row.key), decode_mel(rendered.files[MEL])
        except (tarfile.TarError, ValueError, EOFError, OSError) as error:
            return [Problem(where, f"cannot be read for comparison ({error})")]
        assert isinstance(row, MelRow)
        assert isinstance(rendered.row, MelRow)
        if rendered.row.mel_sha256 == row.mel_sha256:
            return []
        largest = float(np.abs(made.astype(np.float64) - held).max()) if made.shape == held.shape else np.inf
        what = f"rendered again, its values differ by up to {largest:.2g}"
        return [Problem(where, what, promised=not self._exact and largest <= TOLERANCE)]

    def _next(self, key: str) -> NDArray[np.float32]:
        while member := self._tar.next():
            if member.name == f"{key}.{MEL}":
                return decode_mel(self._tar.content(member))
        raise tarfile.ReadError(f"it has no {key}.{MEL}")
