"""The Hub's client with errors as one line each, and patience where it has none of its own.

Owns every call to the Hub. The client retries most transfers by itself, but not the creation of repositories, their
settings, commits or plain downloads that meet a 503 or a dropped connection. The token is the client's: it is neither
read nor printed here.
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

# Two for each of a variant's shards, for some variants of the largest.
_MOST_FILES = 1_000_000
_TRIES = 5
# Files that are sent or fetched at a time, by however many machines: the Hub counts requests by user
# (https://huggingface.co/docs/hub/rate-limits), and each file takes several.
MOST_TRANSFERS = 16
_PATIENT_WITH = (429, 500, 502, 503, 504)
# Seconds before the second try; doubled for each one after it.
_PAUSE = 1.0
T = TypeVar("T")


@dataclass(frozen=True)
class Repo:
    """A dataset repository, `ORG/NAME`."""

    name: str

    def __post_init__(self) -> None:
        if self.name.count("/") != 1 or not all(self.name.split("/")):
            raise UsageError(f"{self.name!r} is no name of a repository, which is ORG/NAME")

    @property
    def url(self) -> str:
        return f"{constants.ENDPOINT}/datasets/{self.name}"

    def call(self, work: Callable[[HfApi], T]) -> T:
        """Ask the Hub, again where it is busy or the connection is lost.

        Raises UsageError where the name, the token or the rights are at fault, RunError where the Hub is.
        """
        for attempt in range(_TRIES):
            try:
                return _asked(work)
            except (HfHubHTTPError, httpx2.TransportError, ConnectionError, json.JSONDecodeError) as error:
                if attempt == _TRIES - 1 or not _is_passing(error):
                    raise self._error(error) from None
                pause = _asked_pause(error) or _PAUSE * 2**attempt
                say(f"the Hub does not answer as it should ({_status(error)}): trying again in {pause:.0f} s")
                time.sleep(pause)
            except (LocalTokenNotFoundError, OfflineModeIsEnabled, HFValidationError) as error:
                raise self._error(error) from None
        raise AssertionError("the last try returns or raises")

    def _error(self, error: Exception) -> UsageError | RunError:
        login = "log in by `hf auth login`, or set HF_TOKEN"
        if isinstance(error, LocalTokenNotFoundError):
            return UsageError(f"there is no token: {login}")
        if isinstance(error, HFValidationError):
            return UsageError(f"{self.name!r} is no name of a repository, which is ORG/NAME: {first_line(error)}")
        if isinstance(error, GatedRepoError):
            return UsageError(f"{self.name} is gated: ask for access at {self.url}, then {login}")
        if isinstance(error, RevisionNotFoundError):
            return UsageError(f"{self.name} has no such revision: see {self.url}/commits/main")
        if isinstance(error, RepositoryNotFoundError):
            return UsageError(f"no dataset {self.name} on the Hub, or the token may not see it: check it, or {login}")
        status = _code(error)
        if status == 401:
            return UsageError(f"the Hub does not accept the token: {login}")
        if status == 403:
            return UsageError(f"the token has no right to do this to {self.name}: use one that may write to it")
        if isinstance(error, OfflineModeIsEnabled):
            return UsageError("HF_HUB_OFFLINE is set: unset it, as this needs the Hub")
        if isinstance(error, HfHubHTTPError) and status is not None and status < 500 and status != 429:
            return UsageError(f"the Hub refuses: {first_line(error)}")
        return RunError(f"the Hub does not answer ({_status(error)}): try again later, and what is done is kept")

    # -- reading

    def commit(self, revision: str | None) -> str:
        """The sha of a revision (a branch, a tag or a commit; None for the main branch)."""
        info = self.call(lambda api: api.dataset_info(self.name, revision=revision))
        return str(info.sha)

    def files(self, revision: str) -> dict[str, int]:
        """The sizes in bytes of all files at a commit, by path. Raises UsageError where they have no end."""

        return self.call(lambda api: {file.path: file.size for file in self._listed(api, revision)})

    def hashes(self, revision: str) -> dict[str, str | None]:
        """The sha256 of all files at a commit, by path; None for small ones, of which the Hub has none."""

        def work(api: HfApi) -> dict[str, str | None]:
            return {file.path: file.lfs.sha256 if file.lfs else None for file in self._listed(api, revision)}

        return self.call(work)

    def _listed(self, api: HfApi, revision: str) -> Iterator[RepoFile]:
        tree = iter(api.list_repo_tree(self.name, recursive=True, repo_type="dataset", revision=revision))
        for entry in itertools.islice(tree, _MOST_FILES):
            if isinstance(entry, RepoFile):
                yield entry
        if next(tree, None) is not None:
            raise UsageError(f"{self.name} holds more than {_MOST_FILES:,} files: it is none that hub.py pushed")

    def fetch(self, path: str, revision: str, into: Path, bar: type[tqdm[Any]] | None = None) -> Path:
        """Download one file to `into/path`; one that is there already and unchanged is not sent again.

        A `bar` of this kind is told of the bytes that are here.
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
        """Who the token belongs to."""
        return str(self.call(lambda api: api.whoami())["name"])

    def visibility(self) -> str | None:
        """`public` or `private`; None where there is no such repository, or none that the token may see."""

        def work(api: HfApi) -> str | None:
            try:
                return "private" if api.dataset_info(self.name).private else "public"
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None

        return self.call(work)

    def gated(self) -> bool:
        """Whether access must be asked for."""
        return bool(self.call(lambda api: api.dataset_info(self.name)).gated)

    def created(self) -> str | None:
        """The day on which the repository was made, as `2026-11-26`; None if the Hub does not say."""
        made = self.call(lambda api: api.dataset_info(self.name)).created_at
        return f"{made:%Y-%m-%d}" if made else None

    def create(self) -> None:
        """Make the repository, private, where there is none."""
        self.call(lambda api: api.create_repo(self.name, repo_type="dataset", private=True, exist_ok=True))

    def settle(self, *, gated: bool | None = None, private: bool | None = None) -> None:
        """Set who may read: `gated` asks for terms to be accepted, and for access to be granted by hand."""
        settings: dict[str, Any] = {}
        if gated is not None:
            settings["gated"] = "manual" if gated else False
        if private is not None:
            settings["private"] = private
        self.call(lambda api: api.update_repo_settings(self.name, repo_type="dataset", **settings))

    def send(self, addition: CommitOperationAdd) -> None:
        """Send what a commit is to add, where it is large; what is small goes with the commit."""
        self.call(lambda api: api.preupload_lfs_files(self.name, additions=[addition], repo_type="dataset"))

    def change(self, additions: Sequence[CommitOperationAdd], deletions: Sequence[str], message: str) -> None:
        """Commit additions, sent or small, and the deletion of files, by path; nothing where that changes nothing."""

        def work(api: HfApi) -> None:
            # A try that seemed to fail may have deleted them, and what is not there cannot be.
            there = {file.path for file in self._listed(api, "main")} if deletions else set()
            deleted = [CommitOperationDelete(path, is_folder=False) for path in deletions if path in there]
            api.create_commit(self.name, [*additions, *deleted], commit_message=message, repo_type="dataset")

        self.call(work)


def _asked(work: Callable[[HfApi], T]) -> T:
    """The Hub's answer. Of a file that could not be sent, the client tells as the cause of an error of its own."""
    try:
        return work(HfApi())
    except RuntimeError as error:
        if isinstance(error.__cause__, HfHubHTTPError | httpx2.TransportError):
            raise error.__cause__ from None
        raise


def _is_passing(error: Exception) -> bool:
    return not isinstance(error, HfHubHTTPError) or _code(error) in _PATIENT_WITH


def _code(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def _asked_pause(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    asked = "" if response is None else response.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else None


def _status(error: Exception) -> str:
    code = _code(error)
    if code is not None:
        return f"status {code}"
    # Xet's says what it met, and where.
    return first_line(error).partition(", domain:")[0] if type(error) is ConnectionError else type(error).__name__


def quiet() -> None:
    """Keep the client's own bars and warnings off the terminal: progress is told here."""
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
