"""The Hub's client, with one-line errors and the retries that it lacks.

Owns every call to the Hub. The client retries most transfers itself, but not the creation of repositories, their
settings, commits, or plain downloads that meet a 503 or a dropped connection. The token is the client's business: it is
neither read nor printed here.
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars
from tqdm import tqdm

from pipelines.errors import RunError, UsageError
from pipelines.progress import say
from pipelines.text import first_line

# Enough for several variants of the largest sets, with two files for each shard.
_MOST_FILES = 1_000_000
_TRIES = 5
# Files sent or fetched at a time by all machines together: the Hub counts requests by user
# (https://huggingface.co/docs/hub/rate-limits), and each file takes several.
MOST_TRANSFERS = 16
_TRANSIENT = (429, 500, 502, 503, 504)
# Seconds before the second try; doubled for each later one.
_PAUSE = 1.0
T = TypeVar("T")


@dataclass(frozen=True)
class Repo:
    """A dataset repository, `ORG/NAME`."""

    name: str

    def __post_init__(self) -> None:
        if self.name.count("/") != 1 or not all(self.name.split("/")):
            raise UsageError(f"{self.name!r} is not the name of a repository: write ORG/NAME")

    @property
    def url(self) -> str:
        return f"{constants.ENDPOINT}/datasets/{self.name}"

    def call(self, work: Callable[[HfApi], T]) -> T:
        """Ask the Hub, and retry if it is busy or the connection is lost.

        Raises UsageError if the name, the token or its permissions are at fault, RunError if the Hub is.
        """
        for attempt in range(_TRIES):
            try:
                return _asked(work)
            except (HfHubHTTPError, httpx2.TransportError, ConnectionError, json.JSONDecodeError) as error:
                if attempt == _TRIES - 1 or not _is_transient(error):
                    raise self._error(error) from None
                pause = _retry_after(error) or _PAUSE * 2**attempt
                say(f"the Hub does not answer as it should ({_status(error)}): trying again in {pause:.0f} s")
                time.sleep(pause)
            except (LocalTokenNotFoundError, OfflineModeIsEnabled, HFValidationError) as error:
                raise self._error(error) from None
        raise AssertionError("the last try returns or raises")

    def _error(self, error: Exception) -> UsageError | RunError:
        login = "log in with `hf auth login`, or set HF_TOKEN"
        if isinstance(error, LocalTokenNotFoundError):
            return UsageError(f"there is no token: {login}")
        if isinstance(error, HFValidationError):
            return UsageError(f"{self.name!r} is not the name of a repository, ORG/NAME: {first_line(error)}")
        if isinstance(error, GatedRepoError):
            return UsageError(f"{self.name} is gated: ask for access at {self.url}, then {login}")
        if isinstance(error, RevisionNotFoundError):
            return UsageError(f"{self.name} has no such revision: see {self.url}/commits/main")
        if isinstance(error, RepositoryNotFoundError):
            return UsageError(f"no dataset {self.name} on the Hub that the token may see: check the name, or {login}")
        status = _code(error)
        if status == 401:
            return UsageError(f"the Hub does not accept the token: {login}")
        if status == 403:
            return UsageError(f"the token has no permission to do this to {self.name}: use one that may write to it")
        if isinstance(error, OfflineModeIsEnabled):
            return UsageError("HF_HUB_OFFLINE is set: unset it, since this needs the Hub")
        if isinstance(error, HfHubHTTPError) and status is not None and status < 500 and status != 429:
            return UsageError(f"the Hub refuses: {first_line(error)}")
        return RunError(f"the Hub does not answer ({_status(error)}): try again later; what is done is kept")

    # -- reading

    def commit(self, revision: str | None) -> str:
        """The sha of a revision (a branch, a tag or a commit; None is the main branch)."""
        info = self.call(lambda api: api.dataset_info(self.name, revision=revision))
        return str(info.sha)

    def files(self, revision: str) -> dict[str, int]:
        """The sizes in bytes of all files at a commit, by path. Raises UsageError if there are too many."""

        return self.call(lambda api: {file.path: file.size for file in self._listed(api, revision)})

    def hashes(self, revision: str) -> dict[str, str | None]:
        """The sha256 of all files at a commit, by path; None for small files, for which the Hub has none."""

        def work(api: HfApi) -> dict[str, str | None]:
            return {file.path: file.lfs.sha256 if file.lfs else None for file in self._listed(api, revision)}

        return self.call(work)

    def _listed(self, api: HfApi, revision: str) -> Iterator[RepoFile]:
        tree = iter(api.list_repo_tree(self.name, recursive=True, repo_type="dataset", revision=revision))
        for entry in itertools.islice(tree, _MOST_FILES):
            if isinstance(entry, RepoFile):
                yield entry
        if next(tree, None) is not None:
            raise UsageError(f"{self.name} has more than {_MOST_FILES:,} files: hub.py did not push it")

    def fetch(self, path: str, revision: str, into: Path, bar: type[tqdm[Any]] | None = None) -> Path:
        """Download a file to `into/path`, unless it is already there and unchanged.

        A progress bar of the class `bar` is updated with bytes.
        """

        def work(_: HfApi) -> Path:
            where: dict[str, Any] = {"repo_type": "dataset", "revision": revision, "local_dir": into}
            try:
                return Path(hf_hub_download(self.name, path, **where, tqdm_class=bar))
            except EntryNotFoundError:
                raise UsageError(f"{self.name} has no {path} at {revision[:8]}") from None

        return self.call(work)

    # -- writing

    def user(self) -> str:
        """The user that the token belongs to."""
        return str(self.call(lambda api: api.whoami())["name"])

    def visibility(self) -> str | None:
        """`public` or `private`; None if the repository does not exist, or the token may not see it."""

        def work(api: HfApi) -> str | None:
            try:
                return "private" if api.dataset_info(self.name).private else "public"
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None

        return self.call(work)

    def gated(self) -> bool:
        """Whether readers must ask for access."""
        return bool(self.call(lambda api: api.dataset_info(self.name)).gated)

    def created(self) -> str | None:
        """The day on which the repository was made, as `2026-11-26`; None if the Hub does not say."""
        made = self.call(lambda api: api.dataset_info(self.name)).created_at
        return f"{made:%Y-%m-%d}" if made else None

    def create(self) -> None:
        """Create the repository, private, if it does not exist."""
        self.call(lambda api: api.create_repo(self.name, repo_type="dataset", private=True, exist_ok=True))

    def settle(self, *, gated: bool | None = None, private: bool | None = None) -> None:
        """Set who may read: with `gated`, readers must accept the terms and are granted access by hand."""
        settings: dict[str, Any] = {}
        if gated is not None:
            settings["gated"] = "manual" if gated else False
        if private is not None:
            settings["private"] = private
        self.call(lambda api: api.update_repo_settings(self.name, repo_type="dataset", **settings))

    def send(self, addition: CommitOperationAdd) -> None:
        """Upload a file that a commit will add, if it is large; small files are sent with the commit."""
        self.call(lambda api: api.preupload_lfs_files(self.name, additions=[addition], repo_type="dataset"))

    def change(self, additions: Sequence[CommitOperationAdd], deletions: Sequence[str], message: str) -> None:
        """Commit files, uploaded or small, and the deletion of others, by path; no commit if nothing changes."""

        def work(api: HfApi) -> None:
            # A try that seemed to fail may have deleted them, and deleting a missing file is an error.
            there = {file.path for file in self._listed(api, "main")} if deletions else set()
            deleted = [CommitOperationDelete(path, is_folder=False) for path in deletions if path in there]
            api.create_commit(self.name, [*additions, *deleted], commit_message=message, repo_type="dataset")

        self.call(work)


def _asked(work: Callable[[HfApi], T]) -> T:
    """The Hub's answer. If an upload fails, the client wraps the error, which is unwrapped here."""
    try:
        return work(HfApi())
    except RuntimeError as error:
        if isinstance(error.__cause__, HfHubHTTPError | httpx2.TransportError):
            raise error.__cause__ from None
        raise


def _is_transient(error: Exception) -> bool:
    return not isinstance(error, HfHubHTTPError) or _code(error) in _TRANSIENT


def _code(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _retry_after(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    seconds = "" if response is None else response.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdecimal() else None


def _status(error: Exception) -> str:
    code = _code(error)
    if code is not None:
        return f"status {code}"
    # Xet's errors say what happened, then where in its code.
    return first_line(error).partition(", domain:")[0] if type(error) is ConnectionError else type(error).__name__


def quiet() -> None:
    """Keep the client's own progress bars and warnings off the terminal."""
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
