"""A file while it arrives: what is heard of it, for as long as the client's call lasts."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

# Seconds between two looks.
_PAUSE = 0.5


def arriving(fetch: Callable[[type[tqdm[Any]]], T], size: int, images: int) -> Generator[int, None, T]:
    """Fetch a file of `size` bytes that holds so many images; yields how many more of them have come.

    `fetch` is given the kind of bar that it is to tell of bytes.
    """
    bars: list[tqdm[Any]] = []

    class Bar(tqdm):  # type: ignore[type-arg] # generic in its stubs alone
        """Shows nothing. The client may have one for what is sent and one for what is written."""

        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **{**options, "disable": True})
            bars.append(self)

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0

    told = 0
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(fetch, Bar)
        while wait([call], _PAUSE).not_done:
            here = min(images, int(images * max((bar.n for bar in bars), default=0) / max(1, size)))
            if here > told:
                yield here - told
                told = here
        found = call.result()
    yield images - told
    return found
