"""hub.py between an object store and the Hub: the same bytes as with a disk, even after an interruption."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest
from huggingface_hub import constants

from manifests.verify import Problem
from pipelines.errors import RunError, UsageError
from pipelines.hub import pull as pulling
from pipelines.hub import push as pushing
from pipelines.hub import rebuild as rebuilding
from pipelines.hub import send
from pipelines.hub.client import Repo
from pipelines.hub.options import PullOptions, PushOptions, RebuildOptions
from pipelines.hub.published import ContradictionError
from pipelines.hub.pull import Fetching, pull
from pipelines.hub.push import push
from pipelines.hub.rebuild import rebuild
from pipelines.hub.send import Sending
from pipelines.store import Disk, Place, place_of
from pipelines.work import Finished, Job, Piece, Progress, Result, Work, crew
from pipelines.work.cluster import Ray
from tests import fuzzing
from tests.hub import Hub
from tests.hub.state import File
from tests.pipelines.hub.conftest import DESCRIBED, files, flipped, here, in_turn, put, sent, sha256
from tests.store.server import BusyProxy, S3Server, busy_proxy

pytestmark = [
    pytest.mark.usefixtures("s3_environment", "nothing_left"),
    # The Hub's client sends files in a way that its HTTP library deprecates.
    pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning"),
]

NAME = "lab/stored"
FIRST, LAST = (f"pil_nearest/validation-0000{index}-of-00002" for index in (0, 1))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with here(tmp_path / "home") as found:
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants of four samples of 16×16 pixels, in two shards each."""
    return fuzzing.make(tmp_path_factory.mktemp("made"), "pil_nearest")


@pytest.fixture
def stored(made: Path, server: S3Server, tmp_path: Path) -> str:
    """The path of a copy of `made` in the store."""
    path = f"bucket/{tmp_path.name}/sample"
    for name, data in files(made).items():
        server.put(f"{path}/{name}", data)
    return path


@pytest.fixture
def proxy(server: S3Server) -> Iterator[BusyProxy]:
    with busy_proxy(server) as running:
        yield running


@pytest.fixture
def nothing_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Afterwards the folder of temporary files must be empty."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert not files(temporary)


def pushed(hub: Hub, place: str | Path, *variants: str) -> dict[str, File]:
    """Push; the files of the repository."""
    assert push(PushOptions(str(place), NAME, variants)) == 0
    return dict(hub.repo(NAME).resolve("main").files)


def held(place: Place, within: str = "") -> dict[str, bytes]:
    """All files below a place, by path."""
    found = {within + name: (place / name).read(2**30) for name in place.files()}
    for folder in place.folders():
        found |= held(place / folder, f"{within}{folder}/")
    return found


def bytes_of(found: dict[str, File]) -> dict[str, tuple[bytes, bool]]:
    return {path: (file.data, file.lfs) for path, file in found.items()}


def test_a_push_from_a_store_equals_one_from_a_disk(hub: Hub, made: Path, stored: str, server: S3Server) -> None:
    expected = bytes_of(pushed(hub, made))
    disk = hub.repos.pop(NAME)
    found = pushed(hub, server.uri(stored))
    assert bytes_of(found) == expected
    repo = hub.repo(NAME)
    assert (repo.private, repo.gated) == (disk.private, disk.gated)
    assert [commit.title for commit in repo.resolve("main").history()] == [
        commit.title for commit in disk.resolve("main").history()
    ]
    head = repo.resolve("main")
    assert {path for path, file in head.files.items() if file.commit == head.id} == DESCRIBED


def test_xet_carries_the_same_bytes_and_is_retried(
    hub: Hub,
    made: Path,
    stored: str,
    server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.fail("POST", "/v1/xorbs/", status=403)
    found = pushed(hub, server.uri(stored))
    assert {path: file.data for path, file in found.items() if "/" in path} == {
        path: data for path, data in files(made).items() if "/" in path
    }
    assert hub.xorbs
    assert "status client error (403 Forbidden)): trying again in 0 s" in capsys.readouterr().err


def test_a_file_that_the_hub_refuses_gives_a_one_line_error(hub: Hub, stored: str, server: S3Server) -> None:
    hub.fail("PUT", "signature", status=403)
    with pytest.raises(UsageError, match=f"the token has no permission to do this to {NAME}"):
        pushed(hub, server.uri(stored))


def test_files_that_the_hub_has_are_not_fetched_from_the_store(
    hub: Hub, made: Path, stored: str, server: S3Server, proxy: BusyProxy
) -> None:
    head = pushed(hub, made)["README.md"].commit
    hub.requests.clear()
    assert pushed(hub, server.uri(stored, proxy.address))["README.md"].commit == head
    assert not sent(hub)
    sizes = {f"/{stored}/{path}": 2 * len(data) for path, data in files(made).items() if path.endswith(".tar")}
    assert {
        path: count for path, count in proxy.sent.items() if path.endswith(".tar")
    } == sizes  # to verify them, and for the page


def test_obsolete_files_are_removed_with_the_manifests(hub: Hub, stored: str, server: S3Server) -> None:
    expected = bytes_of(pushed(hub, server.uri(stored)))
    put(hub.repo(NAME), "main", {"pil_nearest/validation-00002-of-00003.tar": b"old", "other/file": b"theirs"})
    assert bytes_of(pushed(hub, server.uri(stored))) == expected | {"other/file": (b"theirs", False)}


def test_a_killed_push_continues(
    hub: Hub, made: Path, stored: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = Repo.change

    def killed(*words: object) -> None:
        raise KeyboardInterrupt

    def once(repo: Repo, *words: object) -> None:
        monkeypatch.setattr(Repo, "change", killed)
        change(repo, *words)  # type: ignore[arg-type] # its own arguments, passed on

    monkeypatch.setattr(send, "_MOST_SHARDS", 1)
    monkeypatch.setattr(Repo, "change", once)
    with pytest.raises(KeyboardInterrupt):
        pushed(hub, server.uri(stored), "pil_nearest")
    assert set(hub.repo(NAME).files()) == {".gitattributes", f"{FIRST}.tar", f"{FIRST}.json"}
    monkeypatch.setattr(Repo, "change", change)
    before = {request.path.partition("?")[0] for request in sent(hub)}
    assert len(before) == 3  # the tars and the table
    hub.requests.clear()
    found = pushed(hub, server.uri(stored), "pil_nearest")
    assert not before & {request.path.partition("?")[0] for request in sent(hub)}
    expected = {path: data for path, data in files(made).items() if path.startswith("pil_nearest/")}
    assert {path: file.data for path, file in found.items() if "/" in path} == expected
    titles = [commit.title for commit in hub.repo(NAME).resolve("main").history()]
    assert titles == ["Describe the variants", "Add pil_nearest (2 of 2)", "Add pil_nearest (1 of 2)", "initial commit"]


def test_commits_are_in_order_whichever_file_is_sent_first(
    hub: Hub, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def last_first(
        work: Work[Piece, Job, Result], pieces: Sequence[Piece], *_: object, **__: object
    ) -> Generator[Finished[Piece, Result] | Progress | None, None, None]:
        yield from in_turn(work, pieces[::-1])

    monkeypatch.setattr(crew, "each", last_first)
    monkeypatch.setattr(send, "_MOST_SHARDS", 1)
    found = pushed(hub, made)
    assert {path: file.data for path, file in found.items() if "/" in path} == {
        path: data for path, data in files(made).items() if "/" in path
    }
    titles = [commit.title for commit in hub.repo(NAME).resolve("main").history()][-2:0:-1]
    assert titles == [
        f"Add {folder.name} ({number} of 2)"
        for folder in sorted(made.iterdir())
        if folder.is_dir()
        for number in (1, 2)
    ]
    assert "8 of 8 images sent (pil_bilinear)" in capsys.readouterr().err


def test_a_node_that_cannot_take_part_says_why(hub: Hub, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = pushed(hub, made)["README.md"].commit
    repo, root = Repo(NAME), Disk("/out/sample")
    assert send.problem_here(Sending(repo, "lab")) is None
    problem = send.problem_here(Sending(repo, "boss"))
    assert problem == "the token is lab's, but boss is pushing: log in as the same user there"
    assert pulling.problem_here(Fetching(repo, commit, root, made)) is None
    problem = pulling.problem_here(Fetching(repo, commit, root, made / "nowhere"))
    assert problem == "--output /out is not the same folder there: give paths that all nodes share, or URIs"
    monkeypatch.setenv("HF_TOKEN", hub.stranger)
    assert "on the Hub that the token may see" in (pulling.problem_here(Fetching(repo, commit, root, made)) or "")


def test_a_damaged_tar_in_a_store_is_not_pushed(
    hub: Hub, made: Path, stored: str, server: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.put(f"{stored}/{LAST}.tar", flipped((made / f"{LAST}.tar").read_bytes()))
    assert push(PushOptions(server.uri(stored), NAME)) == 1
    assert f"s3://{stored}/{LAST}.tar: its sha256 is not the record's" in capsys.readouterr().out
    assert NAME not in hub.repos


def test_a_tar_that_changes_after_verification_is_not_pushed(
    hub: Hub, made: Path, stored: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(folders: Sequence[Place], ray: Ray) -> list[Problem]:
        server.put(f"{stored}/{LAST}.tar", flipped((made / f"{LAST}.tar").read_bytes()))
        return []

    monkeypatch.setattr(pushing, "check", check)
    with pytest.raises(RunError, match=f"s3://{stored}/{LAST}.tar has changed since it was verified"):
        pushed(hub, server.uri(stored), "pil_nearest")
    assert set(hub.repo(NAME).files()) == {".gitattributes"}


def test_requests_to_busy_servers_are_retried(
    hub: Hub, made: Path, stored: str, server: S3Server, proxy: BusyProxy
) -> None:
    expected = bytes_of(pushed(hub, made))
    del hub.repos[NAME]
    proxy.patience, proxy.refusals = 60, 1
    hub.fail("POST", "/commit/", status=503)
    assert bytes_of(pushed(hub, server.uri(stored, proxy.address))) == expected
    assert proxy.refused == 1
    proxy.patience, proxy.refusals = 10, 2
    output = server.uri(f"{stored}/pulled", proxy.address)
    assert pull(PullOptions(NAME, ("all",), output)) == 0
    assert proxy.refused == 2
    assert held(place_of(output, "--output") / "sample") == files(made)
    assert not [fault for fault in hub._faults if fault.times]


def test_a_pull_to_a_store_equals_one_to_a_disk(
    hub: Hub, made: Path, stored: str, server: S3Server, tmp_path: Path
) -> None:
    pushed(hub, made)
    output = server.uri(f"{stored}/pulled")
    assert pull(PullOptions(NAME, ("pil_nearest",), output)) == 0
    assert pull(PullOptions(NAME, ("pil_nearest",), str(tmp_path / "pulled"))) == 0
    assert held(place_of(output, "--output")) == files(tmp_path / "pulled")
    hub.requests.clear()
    assert pull(PullOptions(NAME, ("all",), output)) == 0
    assert {
        request.path for request in hub.requests if "/pil_nearest/validation" in request.path and ".tar" in request.path
    } == set()
    assert held(place_of(output, "--output") / "sample") == files(made)


@pytest.mark.parametrize("fault", ["tampered", "lost"])
def test_only_whole_tars_are_put_in_the_store(fault: str, hub: Hub, made: Path, stored: str, server: S3Server) -> None:
    """The same command then continues with the missing files."""
    good = pushed(hub, made)[f"{LAST}.tar"].data
    output = server.uri(f"{stored}/pulled")
    options = PullOptions(NAME, ("pil_nearest",), output)
    if fault == "tampered":
        hub.repo(NAME).tags["good"] = hub.repo(NAME).resolve("main")
        put(hub.repo(NAME), "main", {f"{LAST}.tar": flipped(good)})
        with pytest.raises(ContradictionError, match=f"{LAST}.tar does not have its record's sha256"):
            pull(options)
        options = PullOptions(NAME, ("pil_nearest",), output, "good")
    else:
        hub.fail("GET", sha256(good), status=403)
        with pytest.raises(UsageError):
            pull(options)
    root = place_of(output, "--output") / "sample"
    assert held(root).keys() == {f"{FIRST}.tar", f"{FIRST}.json"}
    hub.requests.clear()
    assert pull(options) == 0
    assert not [request for request in hub.requests if f"{FIRST}.tar" in request.path]
    expected = {path: data for path, data in files(made).items() if path.startswith("pil_nearest/")}
    assert {path: data for path, data in held(root).items() if "/" in path} == expected


def test_a_different_set_in_a_store_is_left_unchanged(hub: Hub, made: Path, stored: str, server: S3Server) -> None:
    pushed(hub, made)
    server.put(f"{stored}/{FIRST}.json", flipped((made / f"{FIRST}.json").read_bytes()))
    place = place_of(server.uri(stored), "--output")
    before = held(place)
    with pytest.raises(UsageError, match=f"s3://{stored}/pil_nearest contains a different set of pil_nearest"):
        pull(PullOptions(NAME, ("pil_nearest",), place.parent.address))
    assert held(place) == before


def test_a_set_rebuilt_in_a_store_is_compared_there(
    hub: Hub,
    made: Path,
    stored: str,
    server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pushed(hub, made)
    output = place_of(server.uri(stored), "--output").parent.address
    asked = []
    monkeypatch.setattr(rebuilding, "generate", lambda options: asked.append(options.output))
    assert rebuild(RebuildOptions(NAME, ("all",), output)) == 0
    assert asked == [output]
    assert (
        capsys.readouterr().out.count("every pixel agrees, in all 4 samples; the tars are byte for byte the same") == 2
    )
