"""Tiny wheels made by tests, for environments that only need to be made."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

# Records that it was imported, and waits if a test holds it up.
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
    """A wheel of these files, in a folder."""
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


# Packs the files listed in a file, with the environment variable that it was packed under.
_BACKEND = """
import json, os, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with open("files.json") as file:
        name, files = json.load(file)
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text.replace("PKG_CONFIG", repr(os.environ.get("PKG_CONFIG"))))
    return name
"""


def put_source(folder: Path, distribution: str, version: str, files: Mapping[str, str]) -> None:
    """A source distribution of these files, in a folder; packing replaces `PKG_CONFIG` in them by its value."""
    put_wheel(folder, distribution, version, files)
    wheel = folder / f"{distribution}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as packed:
        held = {name: packed.read(name).decode() for name in packed.namelist()}
    wheel.unlink()
    name = f"{distribution}-{version}"
    project = f'[project]\nname = "{distribution}"\nversion = "{version}"\n'
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    written = {
        "pyproject.toml": project + system,
        "backend.py": _BACKEND,
        "files.json": json.dumps([wheel.name, held]),
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
    }
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        for path, text in written.items():
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
