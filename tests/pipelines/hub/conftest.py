"""What the tests of the Hub share: small sets made once, a Hub that has them, and a user at a terminal."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, constants
from PIL import Image

from manifests.derive import derive, read_records
from manifests.schema import Record
from manifests.verify import records_in
from pipelines.hub import client
from pipelines.store import Disk
from pipelines.work import Finished, Job, Piece, Progress, Result, Work, crew
from tests import ROOT
from tests.conftest import Command, Once
from tests.forks import Forks
from tests.hub import Hub, Request, serve
from tests.hub.state import Repo

NAME = "lab/noised"
# The `+` of a combination is the only character in variants' names that is special in URLs and patterns.
COMBINED = "pil_lanczos+nv12_ascend"
VARIANTS = ["opencv", "pil_bilinear", "pil_lanczos", COMBINED]
# What is written last, of all variants.
DESCRIBED = {"README.md", "croissant.json", "differences.png", "index.html", "residuals.png"}
# Three of ImageNet's classes.
SYNSETS = ("n01440764", "n01751748", "n09193705")
# POST requests that change nothing: they ask about paths, or whether a card's metadata is valid.
_READ_ONLY = re.compile("/paths-info/|/validate-yaml")


class User:
    """Somebody at a terminal with the owner's token, unless `HF_TOKEN` is set; the token must never be shown."""

    def __init__(self, hub: Hub, folder: Path, forks: Forks) -> None:
        self.hub, self.folder = hub, folder
        self._forks = forks

    def run(self, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments, in the user's folder."""
        environment = self._environment(variables)
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        return _checked(done, environment)

    def entry(self, script: str, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run an entry of the checkout, as `run` does."""
        environment = self._environment(variables)
        return _checked(self._forks.run([str(ROOT / script), *map(str, words)], self.folder, environment), environment)

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return own | self.hub.environment(self.folder / "home") | dict(variables)

    def push(self, path: Path, *words: object, repo: str = NAME, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.entry("hub.py", "push", path, "--repo", repo, "--workers", 1, *words, **variables)

    def pull(self, variant: str, output: Path, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.entry("hub.py", "pull", NAME, "--variant", variant, "--output", output, *words, **variables)

    def rebuild(self, variant: str, output: Path, *words: object) -> subprocess.CompletedProcess[str]:
        asked = (NAME, "--variant", variant, "--output", output, "--workers", 1)
        return self.entry("hub.py", "rebuild", *asked, *words)

    def verify(self, path: Path) -> subprocess.CompletedProcess[str]:
        return self.entry("verify.py", path, "--workers", 1)


def _checked(
    done: subprocess.CompletedProcess[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """The same process, after a check that it showed neither a traceback nor the token."""
    shown = done.stdout + done.stderr
    assert "Traceback" not in shown, shown
    assert not environment["HF_TOKEN"] or environment["HF_TOKEN"] not in shown
    return done


def good(done: subprocess.CompletedProcess[str]) -> str:
    """The stdout of a command that succeeded."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The error line of a command that was refused; progress may precede it."""
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if ": error: " in line]
    assert line == done.stderr.splitlines()[-1]
    assert not done.stdout
    return line


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """The error line of a command that failed; lines about its retries may precede it."""
    assert done.returncode == 3, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if ": error: " in line]
    assert "unexpected" not in line
    return line


def files(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shards_of(found: Mapping[str, bytes], *variants: str) -> dict[str, bytes]:
    """The files of these variants, or of all, among a folder's or a repository's files."""
    names = variants or tuple(VARIANTS)
    return {path: data for path, data in found.items() if path.startswith(tuple(f"{name}/" for name in names))}


def writes(hub: Hub) -> list[Request]:
    """The requests that would change something."""
    return [
        request
        for request in hub.requests
        if request.method not in ("GET", "HEAD") and not _READ_ONLY.search(request.path)
    ]


def sent(hub: Hub) -> list[Request]:
    """The requests that send a large file, or a part of one."""
    return [request for request in hub.requests if request.origin == "cdn" and request.method == "PUT"]


def card_of(repo: Repo) -> DatasetCard:
    return DatasetCard(repo.files()["README.md"].decode())


def hold(hub: Hub, repo: Repo) -> Repo:
    """Put a copy of a repository on a Hub."""
    copy = dataclasses.replace(
        repo,
        branches=dict(repo.branches),
        tags=dict(repo.tags),
        objects=dict(repo.objects),
        granted=set(repo.granted),
        lock=threading.Lock(),
    )
    hub.repos[repo.id] = copy
    return copy


def put(repo: Repo, branch: str, changed: Mapping[str, bytes]) -> None:
    """Commit files to a branch, which starts where the main one is."""
    repo.branches.setdefault(branch, repo.branches["main"])
    lines = [("file", {"path": path, "content": base64.b64encode(data).decode()}) for path, data in changed.items()]
    repo.commit(branch, "Change", "", lines)


def flipped(data: bytes) -> bytes:
    """The same bytes, except for one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def altered(folder: Path, change: Callable[[Record], Record]) -> dict[str, bytes]:
    """A variant's records and manifests after a change to every record: changed, but still consistent."""
    records = [change(record) for record in read_records(records_in(Disk(str(folder))))]
    found = {f"{record.name}.json": record.to_bytes() for record in records} | derive(records).files
    return {f"{folder.name}/{name}": data for name, data in found.items()}


def with_config(**values: object) -> Callable[[Record], Record]:
    """A change for `altered`: it sets these values in the configuration."""

    def change(record: Record) -> Record:
        recipe = dataclasses.replace(record.recipe, config={**record.recipe.config, **values})
        return dataclasses.replace(record, recipe=recipe)

    return change


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="session")
def made(once: Once, generate: Command) -> Path:
    """The built-in samples rendered through `VARIANTS`, two of which have the same pixels, in three shards each."""
    words = ("--variant", ",".join(VARIANTS), "--samples-per-shard", 4)
    return once("made_for_the_hub", lambda folder: generate(*words, "--output", folder)) / "sample"


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, bytes]) -> Path:
    """Three small images in class folders, like ImageNet's."""
    folder = tmp_path_factory.mktemp("source")
    for synset, data in zip(SYNSETS, photographs.values(), strict=False):
        (folder / synset).mkdir()
        Image.open(io.BytesIO(data)).convert("RGB").resize((64, 48)).save(folder / synset / f"{synset}_1.JPEG")
    return folder


@pytest.fixture(scope="session")
def imagenet(source: Path, once: Once, generate: Command) -> Path:
    """The three images as ImageNet's train split, rendered by a seeded mix: two shards, crops of 32 pixels from 40."""
    words = ["--variant", "mix_resize", "--seed", 4, "--dataset", "imagenet", "--split", "train", "--source", source]
    words += ["--size", 32, "--resize", 40, "--samples-per-shard", 2]
    made = once("imagenet_for_the_hub", lambda folder: generate(*words, "--output", folder))
    return made / "imagenet"


def _pushed(folder: Path, home: Path, forks: Forks, *words: object) -> Repo:
    with serve() as hub:
        good(User(hub, home, forks).push(folder, *words))
        return hub.repo(NAME)


@pytest.fixture(scope="session")
def published(made: Path, tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Repo:
    """The sample set as hub.py pushes it."""
    return _pushed(made, tmp_path_factory.mktemp("home"), forks)


@pytest.fixture(scope="session")
def bare(imagenet: Path, tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Repo:
    """The manifests of the three images, without pixels, in a public repository."""
    return _pushed(imagenet, tmp_path_factory.mktemp("home"), forks, "--manifests-only", "--public")


def in_turn(
    work: Work[Piece, Job, Result], pieces: Sequence[Piece], *_: object, **__: object
) -> Generator[Finished[Piece, Result] | Progress | None, None, None]:
    """What `pipelines.work.crew.each` does, in this process."""
    for piece in pieces:
        steps = work.do(piece, work.job, False)
        try:
            while True:
                yield Progress(next(steps))
        except StopIteration as end:
            yield Finished(piece, end.value)


@contextlib.contextmanager
def here(home: Path) -> Iterator[Hub]:
    """A Hub that this process takes for the real one; work is done in this process, not in workers."""
    with serve() as found, pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", found.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template.replace("https://huggingface.co", found.url))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_CACHE", str(home))
        patch.setattr(client, "_PAUSE", 0.0)
        patch.setattr(crew, "each", in_turn)
        patch.setenv("HF_TOKEN", found.token)
        yield found


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as found:
        yield found


@pytest.fixture
def user(hub: Hub, tmp_path: Path, forks: Forks) -> Iterator[User]:
    """A user of the Hub. Afterwards no file that a command left may contain the token."""
    folder = tmp_path / "user"
    folder.mkdir()
    yield User(hub, folder, forks)
    assert not [path for path, data in files(tmp_path).items() if hub.token.encode() in data]
