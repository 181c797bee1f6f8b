"""docs/libraries.md says what there is, and its table of odd files what becomes of them."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from generators.registry import LIBRARIES, METHODS, Release, find
from generators.selection import expand
from generators.variant import LIBRARY_GROUPS, reference
from tests.documents import commands, parse, read, table
from tests.generators.foreign.direct import release
from tests.generators.profiles import cmyk, wide
from tests.methods import APART, HERE

PAGE = "docs/libraries.md"
TEXT = read(PAGE)
SIZE = (96, 64)


def test_every_library_is_in_the_table_with_the_version_that_is_installed() -> None:
    said = {row[0].partition(",")[0]: re.findall(r"`(\w[\w-]*)`", row[1])[0] for row in table(PAGE, "library")}
    releases = [library for library in LIBRARIES.values() if isinstance(library, Release) and library.pinned]
    first = {library.distribution: library for library in reversed(releases)}  # of those for pictures and for sound
    pinned = {f"{library.name} {library.version}".strip(): library for library in first.values()}
    assert said.keys() == pinned.keys()
    for name, library in pinned.items():
        assert said[name] == library.group or METHODS[said[name]].library == library
    assert set(LIBRARY_GROUPS) <= set(said.values())


def test_every_token_is_one() -> None:
    starts = "|".join(sorted({token.partition("_")[0] for token in (*HERE, *APART)}))
    words = re.findall(rf"`((?:{starts})(?:_\w+)?(?:-[\d.]+)?)`", TEXT)
    assert len(words) > 20
    assert [word for word in words if not find(word)] == []


def test_the_table_of_costs_has_every_method_of_other_libraries() -> None:
    rows = {row[0].strip("`"): row[1:] for row in table(PAGE, "variant")}
    assert APART.keys() <= rows.keys()
    for found in (cell for row in rows.values() for cell in row[1:] if "(" in cell):
        numbers = [float(number.replace("−", "-")) for number in re.findall(r"−?\d+\.\d\d", found)]
        delta, low, high = numbers
        assert low <= delta <= high
        assert found.startswith("**") == (low > 0)


def test_the_command_parses() -> None:
    (line,) = commands(PAGE)
    given = parse(line.split()[1:])
    assert expand(given.variants, reference(), runs=False)[0]


def picture() -> Image.Image:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    colors = np.stack([columns * 2 + 20, rows * 3 + 20, 200 - columns], axis=-1)
    return Image.fromarray(colors.astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0, **options)
    return buffer.getvalue()


def decoded(token: str, data: bytes) -> NDArray[np.int64]:
    method = METHODS[token]
    told = SIZE if method.whole else (1,) if method.shrinks else ()
    return np.asarray(method.load()(data, *told)).astype(int)


@pytest.mark.parametrize("row", table(PAGE, "token", "CMYK"), ids=lambda row: row[0].strip("`"))
def test_odd_files_become_what_the_table_says(row: list[str]) -> None:
    tokens, (inked, profile, deep, cut) = re.findall(r"`(\w+)`", row[0]), row[1:]
    ramp = np.linspace(0, 65535, SIZE[0] * SIZE[1]).astype(np.uint16).reshape(SIZE[1], SIZE[0])
    gray = io.BytesIO()
    Image.fromarray(ramp).save(gray, "PNG")
    plain, inks = jpeg(picture()), picture().convert("CMYK")
    for token in tokens:
        library = METHODS[token].library
        if isinstance(library, Release) and library.version:
            release(library.name, library.version)
        elif problem := library.problem():
            pytest.skip(problem)
        upright, mixed = decoded(token, plain), decoded(token, jpeg(inks))
        moved = np.abs(decoded(token, jpeg(picture(), icc_profile=wide())) - upright).mean()
        assert {"profile ignored": moved == 0, "profile applied": moved > 2}[profile], token
        moved = np.abs(decoded(token, jpeg(inks, icc_profile=cmyk())) - mixed).mean()
        assert moved > 5 if inked.startswith("by its profile") else moved == 0, token
        by_formula = np.abs(mixed - np.asarray(inks.convert("RGB"))).mean() < 2
        assert by_formula == ("formula" in inked), token
        for data, said in ((gray.getvalue(), deep), (plain[: len(plain) // 2], cut)):
            if said == "refused":
                with pytest.raises((ValueError, OSError, RuntimeError), match=r"\w"):
                    decoded(token, data)
            else:
                assert decoded(token, data).shape == upright.shape, (token, said)
        if deep != "refused":
            off = np.abs(decoded(token, gray.getvalue())[..., 0] - (ramp >> 8)).max()
            assert off == 0 if deep == "upper 8 bits" else off <= 1, token
