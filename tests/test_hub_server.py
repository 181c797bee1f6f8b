"""The Hub of tests/hub with the real client: a push comes back unchanged, and errors are the client's own.

The client's behaviour that hub.py depends on is tested here as well: what it retries, and what it gives up on.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import random
import subprocess
import sys
import tarfile
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import HfApi, close_session, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from PIL import Image

from tests.hub import Hub, Request, serve

NAME = "lab/noised"
# The client's LFS upload passes files to its HTTP library in a way that the library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CARD = """---
license: other
configs:
- config_name: pil_lanczos
  data_files:
  - split: validation
    path: pil_lanczos/validation-*.tar
---
# Noised
"""

PUSH = """
import sys
from huggingface_hub import upload_folder
upload_folder(repo_id=sys.argv[1], repo_type="dataset", folder_path=sys.argv[2])
"""

STREAM = """
import hashlib, json, sys
from datasets import load_dataset
samples = load_dataset(sys.argv[1], "pil_lanczos", split="validation", streaming=True)
print(json.dumps({one["__key__"]: [one["cls"], hashlib.sha256(one["png"].tobytes()).hexdigest()] for one in samples}))
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve() as found:
        yield found
        close_session()


@pytest.fixture
def api(hub: Hub) -> HfApi:
    found = HfApi(endpoint=hub.url, token=hub.token)
    found.create_repo(NAME, repo_type="dataset", private=True)
    return found


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's pauses before its retries, in seconds; they are skipped. Pauses below a second poll a lock."""
    found: list[float] = []
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda pause: found.append(pause) if pause >= 1 else sleep(pause))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A card, a text file, and two binary files, one of them large."""
    found = tmp_path / "folder"
    (found / "pil").mkdir(parents=True)
    (found / "README.md").write_text(CARD)
    (found / "pil" / "manifest.json").write_text('{"é": 1}')
    (found / "pil" / "a.tar").write_bytes(bytes(range(256)) * 4000)
    (found / "pil" / "b.tar").write_bytes(b"\0b" * 100)
    return found


def push(api: HfApi, folder: Path, **options: Any) -> None:
    api.upload_folder(repo_id=NAME, repo_type="dataset", folder_path=folder, **options)


def files(folder: Path | str) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in Path(folder).rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith((".cache", ".gitattr"))}


def sent(hub: Hub, method: str, word: str) -> list[Request]:
    return [request for request in hub.requests if request.method == method and word in request.path]


def test_a_folder_comes_back_unchanged(hub: Hub, api: HfApi, folder: Path, tmp_path: Path) -> None:
    push(api, folder)
    pulled = api.snapshot_download(NAME, repo_type="dataset", local_dir=tmp_path / "pulled")
    assert files(pulled) == files(folder)
    assert {request.authorized for request in hub.requests if request.origin == "cdn"} == {False}
    assert len(sent(hub, "PUT", "/lab/")) == 2


def test_an_unchanged_folder_sends_no_content(hub: Hub, api: HfApi, folder: Path) -> None:
    push(api, folder)
    head = hub.repo(NAME).resolve("main").id
    hub.requests.clear()
    push(api, folder)
    assert not sent(hub, "PUT", "")
    assert not sent(hub, "POST", "/commit/")
    assert hub.repo(NAME).resolve("main").id == head


def test_only_what_changed_is_sent(hub: Hub, api: HfApi, folder: Path) -> None:
    push(api, folder)
    hub.requests.clear()
    (folder / "pil" / "b.tar").write_bytes(b"\0c" * 50)
    (folder / "pil" / "a.tar").unlink()
    push(api, folder, delete_patterns="*.tar")
    assert [request.received for request in sent(hub, "PUT", "")] == [100]
    assert {name: data for name, data in hub.repo(NAME).files().items() if name != ".gitattributes"} == files(folder)


def test_a_failed_push_leaves_the_objects_that_it_sent(hub: Hub, api: HfApi, folder: Path) -> None:
    hub.fail("POST", "/commit/", status=403)
    with pytest.raises(HfHubHTTPError, match="403"):
        push(api, folder)
    assert set(hub.repo(NAME).files()) == {".gitattributes"}
    hub.requests.clear()
    push(api, folder)
    assert not sent(hub, "PUT", "")
    assert files(folder).items() <= hub.repo(NAME).files().items()


def test_a_large_object_is_sent_in_parts(hub: Hub, api: HfApi, folder: Path) -> None:
    hub.part_bytes = 400_000
    push(api, folder)
    assert [request.received for request in sent(hub, "PUT", "/1024000/")] == [400_000, 400_000, 224_000]
    assert files(folder).items() <= hub.repo(NAME).files().items()


@pytest.mark.parametrize("reset", [False, True])
def test_a_dropped_upload_is_sent_again(hub: Hub, api: HfApi, folder: Path, waits: list[float], reset: bool) -> None:
    hub.fail("PUT", "/1024000", after=300_000, reset=reset)
    push(api, folder)
    assert [request.received for request in sent(hub, "PUT", "/1024000")] == [300_000, 1_024_000]
    assert waits == [1]
    assert files(folder).items() <= hub.repo(NAME).files().items()


def test_a_dropped_download_is_resumed(
    hub: Hub, api: HfApi, folder: Path, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client writes pieces of 10 MB, and requests again what it has not written.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    push(api, folder)
    hub.requests.clear()
    hub.fail("GET", "/lab/.*signature", after=650_000)
    path = api.hf_hub_download(NAME, "pil/a.tar", repo_type="dataset", local_dir=tmp_path / "pulled")
    assert Path(path).read_bytes() == (folder / "pil" / "a.tar").read_bytes()
    found = [(request.range, request.sent, request.status) for request in hub.requests if request.origin == "cdn"]
    assert found == [(None, 650_000, 200), ("bytes=600000-", 424_000, 206)]
    assert waits == [1]


def test_a_reset_download_fails_and_keeps_nothing(hub: Hub, api: HfApi, folder: Path, tmp_path: Path) -> None:
    push(api, folder)
    hub.fail("GET", "/lab/.*signature", after=650_000, reset=True)
    with pytest.raises(httpx2.ReadError):
        api.hf_hub_download(NAME, "pil/a.tar", repo_type="dataset", local_dir=tmp_path / "pulled")
    assert not list((tmp_path / "pulled").rglob("*.incomplete"))


def test_a_slow_answer_is_requested_again(
    hub: Hub, api: HfApi, folder: Path, tmp_path: Path, waits: list[float]
) -> None:
    push(api, folder)
    hub.fail("HEAD", "/resolve/", delay=1.0)
    path = api.hf_hub_download(NAME, "README.md", repo_type="dataset", local_dir=tmp_path / "pulled", etag_timeout=0.1)
    assert Path(path).read_text() == CARD
    assert len(sent(hub, "HEAD", "/resolve/")) == 2


def pull(api: HfApi, folder: Path) -> None:
    api.snapshot_download(NAME, repo_type="dataset", local_dir=folder.parent / "pulled", allow_patterns="pil/*")


def about(api: HfApi, folder: Path) -> None:
    api.dataset_info(NAME)


def gate(api: HfApi, folder: Path) -> None:
    api.update_repo_settings(NAME, repo_type="dataset", gated="manual")


def create(api: HfApi, folder: Path) -> None:
    api.create_repo(NAME, repo_type="dataset", exist_ok=True)


Step = Callable[[HfApi, Path], None]
RETRIED: list[tuple[Step, str, str, tuple[int, ...]]] = [
    (push, "POST", "/preupload/", (429, 503)),
    (push, "POST", "/objects/batch", (429, 503)),
    (push, "PUT", "/lab/", (429, 503)),
    (push, "POST", "/objects/verify", (429, 503)),
    (pull, "GET", "/tree/", (429, 503)),
    (pull, "HEAD", "/resolve/.*/a.tar", (429, 503)),
    (pull, "GET", "/resolve/", (429,)),
    (pull, "GET", "/lab/.*signature", (429,)),
]
GIVEN_UP: list[tuple[Step, str, str, tuple[int, ...], type[Exception]]] = [
    (create, "POST", "/repos/create", (429, 503), HfHubHTTPError),
    (gate, "PUT", "/settings", (429, 503), HfHubHTTPError),
    (about, "GET", f"/api/datasets/{NAME}", (429, 503), HfHubHTTPError),
    (push, "POST", "/validate-yaml", (429, 503), json.JSONDecodeError),
    (push, "POST", "/commit/", (429, 503), HfHubHTTPError),
    (pull, "GET", "/revision/", (429, 503), LocalEntryNotFoundError),
    (pull, "GET", "/resolve/", (503,), HfHubHTTPError),
    (pull, "GET", "/lab/.*signature", (503,), HfHubHTTPError),
]


@pytest.mark.parametrize(
    ("step", "method", "path", "status"), [(*case[:3], status) for case in RETRIED for status in case[3]]
)
def test_what_the_client_retries(
    hub: Hub, api: HfApi, folder: Path, waits: list[float], step: Step, method: str, path: str, status: int
) -> None:
    if step is pull:
        push(api, folder)
    hub.fail(method, path, times=2, status=status, headers={"Retry-After": "7"})
    step(api, folder)
    # For a HEAD request, the first failure only enables the retries.
    assert waits == ([8] if method == "HEAD" else [8, 8])


@pytest.mark.parametrize(
    ("step", "method", "path", "status", "error"),
    [(*case[:3], status, case[4]) for case in GIVEN_UP for status in case[3]],
)
def test_what_the_client_gives_up_on(
    hub: Hub,
    api: HfApi,
    folder: Path,
    waits: list[float],
    step: Step,
    method: str,
    path: str,
    status: int,
    error: type[Exception],
) -> None:
    if step is pull:
        push(api, folder)
    hub.fail(method, path, status=status, headers={"Retry-After": "7"})
    with pytest.raises(error):
        step(api, folder)
    assert waits == []


def test_refusals_are_the_clients_own_errors(hub: Hub, api: HfApi, folder: Path) -> None:
    push(api, folder)
    nobody, other = HfApi(endpoint=hub.url, token=False), HfApi(endpoint=hub.url, token=hub.stranger)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(endpoint=hub.url, token="hf_wrong").whoami()
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as wrong:
        HfApi(endpoint=hub.url, token="hf_wrong").dataset_info(NAME)
    assert not isinstance(wrong.value, RepositoryNotFoundError)
    for user in (nobody, other):
        with pytest.raises(RepositoryNotFoundError):
            user.snapshot_download(NAME, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("lab/missing")
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info(NAME, revision="missing")
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(NAME, "missing", repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="rights"):
        other.create_repo(NAME, repo_type="dataset")


def test_a_refused_pull_into_a_folder_with_files_looks_like_a_success(
    hub: Hub, api: HfApi, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    push(api, folder)
    caplog.set_level(logging.WARNING, "huggingface_hub")  # hub.py raises it, and may have run in this process
    wrong = HfApi(endpoint=hub.url, token="hf_wrong")
    assert wrong.snapshot_download(NAME, repo_type="dataset", local_dir=folder) == str(folder)
    assert "remote repo cannot be accessed" in caplog.text


def test_a_gated_repository_opens_to_users_with_access(hub: Hub, api: HfApi, folder: Path, tmp_path: Path) -> None:
    push(api, folder)
    api.update_repo_settings(NAME, repo_type="dataset", gated="manual", visibility="public")
    found = api.dataset_info(NAME)
    assert (found.gated, found.private) == ("manual", False)
    nobody, other = HfApi(endpoint=hub.url, token=False), HfApi(endpoint=hub.url, token=hub.stranger)
    for user, status in ((nobody, 401), (other, 403)):
        with pytest.raises(GatedRepoError) as error:
            user.snapshot_download(NAME, repo_type="dataset")
        assert error.value.response.status_code == status
    hub.repo(NAME).granted.add("stranger")
    pulled = other.snapshot_download(NAME, repo_type="dataset", local_dir=tmp_path / "pulled")
    assert files(pulled) == files(folder)


def test_a_revision_keeps_its_files(hub: Hub, api: HfApi, folder: Path, tmp_path: Path) -> None:
    push(api, folder)
    first = api.dataset_info(NAME).sha
    assert first is not None
    api.create_tag(NAME, repo_type="dataset", tag="v1")
    api.create_branch(NAME, repo_type="dataset", branch="try/1", revision="v1")
    before = files(folder)
    (folder / "pil" / "b.tar").write_bytes(b"\0later")
    push(api, folder)
    for number, revision in enumerate(("v1", "try/1", first, first[:7])):
        local = tmp_path / str(number)
        assert files(api.snapshot_download(NAME, repo_type="dataset", revision=revision, local_dir=local)) == before
    (folder / "pil" / "b.tar").write_bytes(b"\0last")
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        push(api, folder, parent_commit=first)
    titles = [commit.title for commit in api.list_repo_commits(NAME, repo_type="dataset")]
    assert titles == ["Upload folder using huggingface_hub"] * 2 + ["initial commit"]
    refs = api.list_repo_refs(NAME, repo_type="dataset")
    assert ([branch.name for branch in refs.branches], [tag.name for tag in refs.tags]) == (["main", "try/1"], ["v1"])


def test_the_tree_comes_in_pages(hub: Hub, api: HfApi, folder: Path) -> None:
    push(api, folder)
    hub.page = 2
    found = list(api.list_repo_tree(NAME, repo_type="dataset", recursive=True, expand=True))
    assert [entry.path for entry in found] == [".gitattributes", *sorted([*files(folder), "pil"])]
    assert len(sent(hub, "GET", "/tree/")) == 3
    assert found == api.get_paths_info(NAME, [entry.path for entry in found], repo_type="dataset", expand=True)


@pytest.mark.parametrize(
    ("card", "error"), [("---\nlicense: [\n---\n", "Invalid metadata"), ("---\nconfigs: pil\n---\n", "to be a list")]
)
def test_a_bad_card_stops_a_push(hub: Hub, api: HfApi, folder: Path, card: str, error: str) -> None:
    (folder / "README.md").write_text(card)
    with pytest.raises(ValueError, match=error):
        push(api, folder)
    assert not sent(hub, "PUT", "")


def test_a_card_without_metadata_warns(api: HfApi, folder: Path) -> None:
    (folder / "README.md").write_text("# Noised")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        push(api, folder)


@pytest.fixture
def images(folder: Path) -> dict[str, Image.Image]:
    """Tiny images by key, in two tars of the folder."""
    found = {f"sample{number}": Image.new("RGB", (3, 2), (number, 9, 200)) for number in range(4)}
    (folder / "pil_lanczos").mkdir()
    for shard in range(2):
        with tarfile.open(folder / "pil_lanczos" / f"validation-0000{shard}-of-00002.tar", "w") as tar:
            for key in list(found)[shard::2]:
                png = io.BytesIO()
                found[key].save(png, "PNG")
                for name, data in ((f"{key}.png", png.getvalue()), (f"{key}.cls", key[-1].encode())):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return found


def python(hub: Hub, home: Path, script: str, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script on the repository in another process, which takes `hub` for the Hub."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= hub.environment(home) | variables
    command = [sys.executable, "-W", "ignore", "-c", script, NAME, *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_datasets_streams_a_variant(
    hub: Hub, api: HfApi, folder: Path, tmp_path: Path, images: dict[str, Image.Image]
) -> None:
    push(api, folder)
    hub.requests.clear()
    done = python(hub, tmp_path / "home", STREAM)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {key: [int(key[-1]), hashlib.sha256(image.tobytes()).hexdigest()] for key, image in images.items()}
    assert {request.authorized for request in hub.requests if request.origin == "cdn"} == {False}


def test_datasets_does_not_find_a_private_repository_without_a_token(
    hub: Hub, api: HfApi, folder: Path, tmp_path: Path
) -> None:
    push(api, folder)
    done = python(hub, tmp_path / "home", STREAM, HF_TOKEN="")
    assert "DatasetNotFoundError" in done.stderr
    assert not [request for request in hub.requests if request.origin == "cdn" and request.method == "GET"]


def test_a_push_by_xet_survives_faults_and_sends_only_new_chunks(
    hub: Hub, api: HfApi, folder: Path, tmp_path: Path
) -> None:
    def pushed() -> list[Request]:
        hub.requests.clear()
        done = python(hub, tmp_path / "home", PUSH, folder, HF_HUB_DISABLE_XET="0")
        assert done.returncode == 0, done.stderr
        found = {name: data for name, data in hub.repo(NAME).files().items() if name != ".gitattributes"}
        assert found == files(folder)
        assert not any(request.authorized for request in hub.requests if request.origin != "hub")
        return sent(hub, "POST", "/v1/xorbs/")

    # Xet stores noise as it is, compresses a pattern, and compresses floats grouped by byte.
    (folder / "pil" / "noise.tar").write_bytes(b"\0" + random.Random(0).randbytes(200_000))
    (folder / "pil" / "floats.tar").write_bytes(array("f", (number / 7 for number in range(50_001))).tobytes() + b"\0")
    hub.fail("POST", "/v1/xorbs/", after=1000)
    hub.fail("POST", "/commit/", status=503, headers={"Retry-After": "0"})
    dropped, whole = pushed()
    assert (dropped.received, whole.received > 200_000) == (1000, True)
    assert pushed() == []
    (folder / "pil" / "b.tar").write_bytes(b"\0new" * 30)
    assert [request.received < 1000 for request in pushed()] == [True]
    titles = [commit.title for commit in hub.repo(NAME).resolve("main").history()]
    assert titles == ["Upload folder using huggingface_hub"] * 2 + ["initial commit"]
