from __future__ import annotations

import io
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.generate.sources.base import Listing, Missing, Sample


def _wav(i: int) -> bytes:
    t = np.arange(22050 * (i + 1) // 2) / 22050
    x = (np.sin(2 * np.pi * 220 * (i + 1) * t) * 9000).astype("<i2")
    b = io.BytesIO()
    with wave.open(b, "wb") as w:
        w.setnchannels(1)
        w.setsampwidth(2)
        w.setframerate(22050)
        w.writeframes(x.tobytes())
    return b.getvalue()


@dataclass(frozen=True)
class SpokenSource:
    kind: str = "spoken"

    def listing(self) -> Listing:
        return Listing(
            [Sample(f"s{i}", -1, f"s{i}.wav", len(_wav(i)), (i,), (("text", f"tone {i}"),)) for i in range(3)], []
        )

    def read(self, samples: Sequence[Sample]) -> Iterator[bytes | Missing]:
        for s in samples:
            yield _wav(s.place[0])
