"""pip's package sources in uv's terms, for users who have configured only pip.

A company's mirror is often configured only for pip. uv's own settings take precedence. Run as a script, this module
runs the environment's uv with these settings.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# pip's options and the equivalent variables of uv. pip separates lists with spaces, UV_FIND_LINKS with commas.
_SAME = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_OFFLINE",  # uv has no closer equivalent
    "trusted-host": "UV_INSECURE_HOST",
    "proxy": "ALL_PROXY",
    "cert": "SSL_CERT_FILE",
}
# Sections of pip's configuration that apply to installing, by increasing precedence.
_SECTIONS = ("global", "install", ":env:")
_OWN = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
_OWN_LINE = re.compile(r"^\s*(\[\[)?(default-)?(index|index-url|extra-index-url|find-links|no-index)\b", re.MULTILINE)


def settings_for_uv() -> dict[str, str]:
    """pip's settings as uv's variables; none if uv has its own settings for package sources."""
    if any(name in os.environ for name in _OWN) or any(map(_says_where, _files_of_uv())):
        return {}
    found = {_SAME[option]: value for option, value in _of_pip().items()}
    if "UV_INDEX" in found:  # pip takes the best version of all indexes, uv that of the first index with the package
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if "UV_FIND_LINKS" in found:  # uv fails on a missing folder, which pip ignores
        places = found["UV_FIND_LINKS"].split()
        found["UV_FIND_LINKS"] = ",".join(place for place in places if "://" in place or Path(place).is_dir())
    return found


@functools.cache
def _of_pip() -> Mapping[str, str]:
    """The options that are set in pip and that uv has too."""
    words = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # without pip, nothing is set
    sections: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in sections and option in _SAME:
            sections[section][option] = " ".join(str(ast.literal_eval(value)).split())
    return {option: value for section in _SECTIONS for option, value in sections[section].items()}


def _files_of_uv() -> list[Path]:
    """The files that may contain uv's settings."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    system = os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    folders = [Path(folder, "uv") for folder in (home, *system, "/etc")]
    named = [Path(os.environ["UV_CONFIG_FILE"])] if "UV_CONFIG_FILE" in os.environ else []
    return [*named, Path("uv.toml"), *(folder / "uv.toml" for folder in folders)]


def _says_where(file: Path) -> bool:
    try:
        return _OWN_LINE.search(file.read_text()) is not None
    except OSError:
        return False


if __name__ == "__main__":
    os.environ |= settings_for_uv()
    uv = os.path.join(os.path.dirname(sys.executable), "uv")
    os.execv(uv, [uv, *sys.argv[1:]])
