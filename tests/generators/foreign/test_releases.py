from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from generators.pixels.foreign import releases
from generators.pixels.foreign.pythons import Python
from generators.registry import UnavailableError, find
from generators.selection import expand
from generators.variant import VariantError, reference
from tests.generators.foreign.at_hand import put

MINOR = f"{sys.version_info.major}{sys.version_info.minor}"
ANY_PYTHON, THIS_PYTHON, ANOTHER_PYTHON = "py3-none-any", f"cp{MINOR}-none-any", "cp26-cp26m-any"


@pytest.fixture(autouse=True)
def one_python(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only this Python, and empty caches."""
    monkeypatch.setattr(
        releases, "installed", lambda: [Python(".".join(map(str, sys.version_info[:3])), sys.executable)]
    )
    for kept in (releases.newest_of_each_major, releases.nearest):
        kept.cache_clear()
    yield
    for kept in (releases.newest_of_each_major, releases.nearest):
        kept.cache_clear()


class Index:
    """A folder as an index of empty wheels."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, distribution: str, version: str, tag: str, *, yanked: bool = False) -> None:
        folder = self._folder / distribution
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{distribution.replace('-', '_')}-{version}"
        with zipfile.ZipFile(folder / f"{name}-{tag}.whl", "w") as wheel:
            wheel.writestr(
                f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
            )
            wheel.writestr(f"{name}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            wheel.writestr(f"{name}.dist-info/RECORD", "")
        self.link(distribution, f"{name}-{tag}.whl", "data-yanked=broken" if yanked else "")

    def link(self, distribution: str, file: str, more: str = "") -> None:
        with (self._folder / distribution / "index.html").open("a") as page:
            page.write(f'<a href="{file}" {more}>{file}</a>\n')


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """uv's only index, with an empty cache."""
    for name in ("UV_INDEX", "UV_FIND_LINKS", "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "simple").as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("SYSNOISE_CACHE", str(tmp_path / "cache"))
    return Index(tmp_path / "simple")


@pytest.fixture
def unreachable(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_the_newest_release_with_a_wheel_of_each_major_version(index: Index) -> None:
    index.add("pillow", "0.0.0", ANY_PYTHON)  # reserves the name
    index.add("pillow", "1.9.0", ANY_PYTHON)
    index.add("pillow", "1.10.0", THIS_PYTHON)
    index.add("pillow", "2.0.0", ANOTHER_PYTHON)
    index.add("pillow", "3.0.0", THIS_PYTHON)
    index.add("pillow", "3.1.0", THIS_PYTHON, yanked=True)
    index.add("pillow", "4.0.0rc1", ANY_PYTHON)
    index.link("pillow", "pillow-5.0.0.tar.gz")
    assert releases.newest_of_each_major("pillow") == ("1.10.0", "3.0.0")
    names = [variant.name for variant in expand(["ffmpeg+pil_box-*,pil"], reference())[0]]
    assert names == ["ffmpeg+pil_box-1.10.0", "ffmpeg+pil_box-3.0.0", "pil_bilinear"]


def test_the_nearest_release_is_the_one_itself_or_the_first_later_one(index: Index) -> None:
    index.add("pillow", "1.9.0", ANY_PYTHON)
    index.add("pillow", "1.10.0", ANOTHER_PYTHON)
    index.add("pillow", "2.0.0", ANY_PYTHON)
    index.add("pillow", "2.1.0", ANY_PYTHON)
    assert [releases.nearest("pillow", version) for version in ("1.9.0", "1.9.1", "1.10.0")] == [
        "1.9.0",
        "2.0.0",
        "2.0.0",
    ]
    with pytest.raises(UnavailableError, match="neither pillow 3 nor a later one has wheels"):
        releases.nearest("pillow", "3")


def test_a_version_is_reported_without_its_local_part(index: Index) -> None:
    index.add("torchvision", "0.9.0+cpu", ANY_PYTHON)
    index.add("numpy", "1.26.4", ANY_PYTHON)
    assert releases.newest_of_each_major("torchvision") == ("0.9.0",)
    assert releases.nearest("torchvision", "0.8.0") == "0.9.0"


def test_requirements_must_be_available_for_the_same_python(index: Index) -> None:
    for version in ("3.4.0.1", "4.5.5.64", "4.10.0.84", "5.0.0.93"):
        index.add("opencv-python-headless", version, ANY_PYTHON)
    index.add("numpy", "2.2.6", ANY_PYTHON)  # OpenCV before 4.10 was built for NumPy 1
    index.add("numpy", "1.26.4", ANOTHER_PYTHON)
    assert releases.newest_of_each_major("opencv-python-headless") == ("4.10.0.84", "5.0.0.93")
    assert releases.nearest("opencv-python-headless", "4.1.1.26") == "4.10.0.84"


def test_without_an_index_installed_releases_are_named(unreachable: None, tmp_path: Path) -> None:
    put(tmp_path / "cache", "pillow-12.3.0", "pillow-6.2.1")
    with pytest.raises(VariantError) as caught:
        expand(["pil_box-*"], reference())
    message = str(caught.value)
    assert "the releases of pillow cannot be looked up" in message
    assert message.endswith("name a version; one of those installed here, 6.2.1, 12.3.0")
    assert "\n" not in message


def test_without_an_index_the_nearest_is_an_installed_one(unreachable: None, tmp_path: Path) -> None:
    put(
        tmp_path / "cache", *(f"opencv-python-headless-{version}" for version in ("4.10.0.84", "4.5.5.64", "3.4.18.65"))
    )
    assert releases.nearest("opencv-python-headless", "4.5.5.64") == "4.5.5.64"
    assert releases.nearest("opencv-python-headless", "4.1.1.26") == "4.5.5.64"
    with pytest.raises(UnavailableError, match="cannot be looked up"):
        releases.nearest("opencv-python-headless", "5.0.0.93")


def test_the_public_index_has_them() -> None:
    try:
        found = releases.newest_of_each_major("pillow")
    except UnavailableError as error:
        pytest.skip(str(error))
    majors = [int(version.partition(".")[0]) for version in found]
    assert majors == sorted(set(majors))
    twelve = found[majors.index(12)]
    assert int(twelve.split(".")[1]) >= 3
    assert sys.version_info < (3, 11) or 13 in majors
    for version in found:
        method = find(f"pil_box-{version}")
        assert method is not None
        assert releases.nearest("pillow", version) == version
