"""Files that are compressed, which are not read: how to recognise them, and what to do."""

from __future__ import annotations

from pipelines.generate.sources.base import is_litter
from pipelines.store import Place

COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".zip", ".7z", ".rar")
# Magic numbers of gzip (RFC 1952), bzip2, xz, Zstandard (RFC 8878) and zip.
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PK\3\4")


def is_compressed(name: str) -> bool:
    """Whether a file, by its name, is a compressed archive."""
    return name.lower().endswith(COMPRESSED) and not is_litter(name)


def unpacking(file: Place) -> str:
    """The message about a compressed archive."""
    command = f"unzip {file.name} -d FOLDER" if file.suffix == ".zip" else f"tar -xf {file.name} -C FOLDER"
    return f"{file} is compressed: unpack it ({command}), and give the folder as --source"


def begins_compressed(file: Place) -> bool:
    """Whether a file is compressed, by its first bytes and whatever its name."""
    with file.open() as opened:
        return opened.read(max(map(len, _MAGIC))).startswith(_MAGIC)
