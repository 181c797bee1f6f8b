"""Progress of a run of generate.py."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.generate.datasets import DATASETS
from pipelines.generate.schedule import Piece
from pipelines.progress import counted
from pipelines.work import Finished, Progress


def follow(results: Iterable[Finished[Piece, int] | Progress | None], total: int, dataset: str) -> None:
    """Show progress while a dataset's samples are rendered."""
    failed = 0
    of = DATASETS[dataset]
    with counted(total, of.unit, of.noun) as advance:
        for result in results:
            images = 0
            if isinstance(result, Progress):
                images = result.images
            elif result is not None:
                failed += result.result
            advance(f"{failed:,} failed" if failed else "", images)
