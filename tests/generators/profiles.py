"""Hand-written ICC profiles: none of LittleCMS's own, and with gamuts other than sRGB's."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# D50, the illuminant of all profiles (ICC.1:2010, 7.2.16).
D50 = np.array([0.9642, 1.0, 0.8249])
# Chromaticities of Adobe RGB (1998), section 4.3.1.1: red, green, blue, and white (D65).
ADOBE = np.array([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06), (0.3127, 0.3290)])
SRGB = np.array([(0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290)])
# ICC.1:2010, annex E.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_xyz(chromaticities: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix from linear RGB to XYZ, adapted to D50 (Bradford)."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in chromaticities]).T
    primaries, white = columns[:, :3], columns[:, 3]
    matrix = primaries * np.linalg.solve(primaries, white)
    cones = (_BRADFORD @ D50) / (_BRADFORD @ white)
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ matrix)


def wide(name: str = "Wide", gamma: float = 2.19921875) -> bytes:
    """A profile of Adobe RGB's gamut: three columns and a gamma."""
    columns = {tag: _xyz(column) for tag, column in zip(("rXYZ", "gXYZ", "bXYZ"), to_xyz(ADOBE).T, strict=True)}
    curves = dict.fromkeys(("rTRC", "gTRC", "bTRC"), _curve(gamma))
    return write("mntr", "RGB ", "XYZ ", {"desc": described(name), "wtpt": _xyz(D50), **columns, **curves})


def gray(gamma: float = 1.0) -> bytes:
    """A grayscale profile."""
    return write("mntr", "GRAY", "XYZ ", {"desc": described("Gray"), "wtpt": _xyz(D50), "kTRC": _curve(gamma)})


def cmyk() -> bytes:
    """A profile of inks, each of which darkens what is below: L* is 100 (1 - c)(1 - m)(1 - y)(1 - k), without hue."""
    identity = bytes(range(256))
    grid = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    lab = b"".join(bytes([255 if not any(inks) else 0, 128, 128]) for inks in grid)
    unit = struct.pack(">9i", *(np.eye(3, dtype=int).ravel() * 65536))
    table = struct.pack(">4sIBBBx", b"mft1", 0, 4, 3, 2) + unit + identity * 4 + lab + identity * 3
    return write("prtr", "CMYK", "Lab ", {"desc": described("Inks"), "wtpt": _xyz(D50), "A2B0": table})


def described(text: str) -> bytes:
    """A textDescriptionType (ICC.1:2001-04, 6.5.17)."""
    plain = text.encode("latin-1") + b"\0"
    return struct.pack(">4sII", b"desc", 0, len(plain)) + plain + bytes(4 + 4 + 2 + 1 + 67)


def localised(texts: Mapping[str, str]) -> bytes:
    """A multiLocalizedUnicodeType (ICC.1:2010, 10.13), by languages and countries as in `enUS`."""
    encoded = {place: text.encode("utf-16-be", "surrogatepass") for place, text in texts.items()}
    offset = 16 + 12 * len(texts)
    records = b""
    for place, text in encoded.items():
        records += struct.pack(">4sII", place.encode(), len(text), offset)
        offset += len(text)
    return struct.pack(">4sIII", b"mluc", 0, len(texts), 12) + records + b"".join(encoded.values())


def write(kind: str, space: str, connection: str, tags: Mapping[str, bytes]) -> bytes:
    """A profile of version 2.1."""
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name.encode(), 128 + 4 + 12 * len(tags) + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    size = 128 + len(table) + len(data)
    words = [word.encode() for word in (kind, space, connection)]
    header = struct.pack(">I4xI4s4s4s12x4s", size, 0x02100000, *words, b"acsp") + bytes(28)
    return (header + _xyz(D50)[8:]).ljust(128, b"\0") + table + data


def _xyz(values: NDArray[np.float64]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(float(value) * 65536) for value in values))


def _curve(gamma: float) -> bytes:
    return struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))
