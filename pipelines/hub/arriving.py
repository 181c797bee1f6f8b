"""Progress of a download while the client's call runs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

# Seconds between two looks.
_PAUSE = 0.5


def arriving(fetch: Callable[[type[tqdm[Any]]], T], size: int, images: int) -> Generator[int, None, T]:
    """Fetch a file of `size` bytes that contains `images` images; yields how many more of them have arrived.

    `fetch` gets the class of the progress bar that it must update with bytes.
    """
    bars: list[tqdm[Any]] = []

    class Bar(tqdm):  # type: ignore[type-arg] # generic only in its stubs
        """Shows nothing. The client may create one bar for the transfer and one for the disk."""

        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **{**options, "disable": True})
            bars.append(self)

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0

    reported = 0
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(fetch, Bar)
        while wait([call], _PAUSE).not_done:
            here = min(images, int(images * max((bar.n for bar in bars), default=0) / max(1, size)))
            if here > reported:
                yield here - reported
                reported = here
        result = call.result()
    yield images - reported
    return result
