"""Wheels made here, of a few bytes: what environments are made of where only the making matters."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

# Says that it was imported to who counts, and waits for who holds it up.
_IMAGE = """
import os
if "SYSNOISE_COUNT" in os.environ:
    with open(os.environ["SYSNOISE_COUNT"], "a") as file:
        file.write("imported\\n")
if "SYSNOISE_WAIT" in os.environ:
    open(os.environ["SYSNOISE_WAIT"]).read()
"""
PILLOW = {"PIL/__init__.py": "", "PIL/Image.py": _IMAGE, "PIL/_imaging.so": "a library"}


def put_wheel(
    folder: Path,
    distribution: str,
    version: str,
    files: Mapping[str, str],
    tag: str = "py3-none-any",
    needs: Iterable[str] = (),
) -> None:
    """A wheel of such files, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    name = distribution.replace("-", "_")
    about = f"{name}-{version}.dist-info"
    required = "".join(f"Requires-Dist: {need}\n" for need in needs)
    written = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{required}",
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in (*written, f"{about}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
        for path, text in {**written, f"{about}/RECORD": record}.items():
            wheel.writestr(path, text)
