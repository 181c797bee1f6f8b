"""Shared by the tests of libraries that only have their own environment: files, sizes, and our methods' pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from generators.registry import LIBRARIES, Method, Release
from tests.generators.foreign.direct import Digests
from tests.generators.foreign.test_programs import call, digest, encoded, methods

# Width and height: the usual size, one for each way of being awkward, and a larger one.
SIZES = ((256, 256), (301, 17), (1, 1), (500, 700))


def version(library: str) -> str:
    """The version that a token without one stands for."""
    found = LIBRARIES[library]
    assert isinstance(found, Release)
    return found.version


def resizes(library: str) -> list[Method]:
    return [method for method in methods(library) if method.stage == "resize"]


def put(photographs: Mapping[str, bytes], folder: Path) -> dict[str, Path]:
    """The photographs as files, with corners of one of them: a pixel, a column and a strip."""
    picture = call("pil", photographs["chelsea"])
    strip = np.tile(picture[:20], (1, 7, 1))[:, :3000]
    corners = {"pixel": picture[:1, :1], "column": picture[:50, :1], "strip": strip}
    made = {key: encoded(Image.fromarray(np.ascontiguousarray(corner))) for key, corner in corners.items()}
    files = {key: folder / f"{key}.jpg" for key in (*photographs, *made)}
    for key, path in files.items():
        path.write_bytes({**photographs, **made}[key])
    return files


def digests(
    decoder: str, resizers: Sequence[str], files: Mapping[str, Path], sizes: Iterable[tuple[int, int]]
) -> Digests:
    """Digests of our methods' pixels, in the form of a direct call: the size follows the token."""
    found: Digests = {}
    for key, path in files.items():
        image = call(decoder, path.read_bytes())
        found.setdefault(decoder, {})[key] = digest(image)
        for width, height in sizes:
            for token in resizers:
                found.setdefault(f"{token} {width}x{height}", {})[key] = digest(call(token, image, width, height))
    return found
