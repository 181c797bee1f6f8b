"""Pushing a dataset's variants: verified first, private unless asked otherwise, the card last.

Refuses to push anything unverified, to make images public whose terms forbid it, and to mix configurations or
manifests with and without pixels in one repository.
"""

from __future__ import annotations

import fnmatch
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.schema import SPLIT, SUMMARY, TABLE, TIMM
from manifests.verify import variant_folders
from pipelines.check import check, show
from pipelines.errors import UsageError
from pipelines.hub.card import hub_card
from pipelines.hub.client import Repo, quiet
from pipelines.progress import say

_MANIFESTS = (TABLE, SUMMARY, TIMM, f"{SPLIT}-*.json")
_TARS = f"{SPLIT}-*.tar"
# Datasets whose terms do not let others hand their images on.
RESTRICTED = frozenset({"imagenet", "cityscapes"})


@dataclass(frozen=True)
class PushOptions:
    """What the command line asks for; `gated` None is the dataset's default."""

    path: Path
    repo: str
    variants: tuple[str, ...]
    manifests_only: bool
    gated: bool | None
    public: bool
    has_the_right: bool
    workers: int


def push(options: PushOptions) -> int:
    """Push, and say where it went; the exit status (1 where verification finds problems)."""
    quiet()
    folders = _chosen(options)
    summaries = [_summary(folder) for folder in folders]
    dataset = str(summaries[0]["config"]["dataset"])
    restricted = dataset in RESTRICTED and not options.manifests_only
    if options.public and restricted and not options.has_the_right:
        raise UsageError(
            f"the terms of {dataset} do not allow its images to be handed on: leave --public out, push with "
            "--manifests-only, or add --i-have-the-right-to"
        )
    problems = check(folders, options.workers)
    if problems:
        show(problems)
        print(f"FAILED: {len(problems):,} problems, and nothing was pushed")
        return 1
    repo = Repo(options.repo)
    say(f"verified; pushing as {repo.user()}")
    _open(repo, options, restricted=restricted)
    held = _held(repo, options, summaries)
    gated = restricted if options.gated is None else options.gated
    if gated:
        repo.settle(gated=True)
    patterns = _MANIFESTS if options.manifests_only else (*_MANIFESTS, _TARS)
    for number, folder in enumerate(folders, 1):
        say(f"{folder.name}: {number} of {len(folders)}")
        repo.upload(folder, folder.name, patterns)
    everything = sorted((*summaries, *held), key=lambda summary: str(summary["name"]))
    repo.upload_card(hub_card(repo.name, everything, gated=gated, pixels=not options.manifests_only))
    print(f"Pushed {', '.join(folder.name for folder in folders)} to {repo.url} ({repo.visibility()}).")
    return 0


def _chosen(options: PushOptions) -> list[Path]:
    """The folders of the asked variants of one dataset, all of them where none was asked for."""
    folders = {folder.name: folder for folder in variant_folders(options.path)}
    if not folders or len({folder.parent for folder in folders.values()}) > 1:
        raise UsageError(f"no dataset's shards at {options.path}: give the folder that generate.py wrote, as out/coco")
    names = [name for word in options.variants for name in word.split(",")] or list(folders)
    unknown = [name for name in names if name not in folders]
    if unknown:
        raise UsageError(f"{unknown[0]} is not in {options.path}, which has {', '.join(folders)}")
    return [folders[name] for name in dict.fromkeys(names)]


def _summary(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / SUMMARY).read_bytes())
        _ = found["config"]["dataset"], found["config_sha256"], found["name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{folder} is not finished: run the same generate.py command again") from None
    return found


def _open(repo: Repo, options: PushOptions, *, restricted: bool) -> None:
    """Make the repository where there is none, and public where that is asked for."""
    before = repo.visibility()
    if before == "public" and restricted and not options.has_the_right:
        raise UsageError(f"{repo.name} is public, and these images may not be: push to a private repository")
    if before is None:
        repo.create()
    if options.public and before != "public":
        repo.settle(private=False)


def _held(repo: Repo, options: PushOptions, summaries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The summaries of the variants that the repository holds besides those that are pushed.

    Raises UsageError where they are of another kind.
    """
    revision = repo.commit(None)
    files = repo.files(revision)
    if options.manifests_only and any(fnmatch.fnmatch(path, f"*/{_TARS}") for path in files):
        raise UsageError(f"{repo.name} holds pixels, and its history keeps them: push manifests to another repository")
    pushed = {summary["name"] for summary in summaries}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            name, _, file = path.partition("/")
            if file == SUMMARY and name not in pushed:
                found.append(json.loads(repo.fetch(path, revision, Path(folder)).read_bytes()))
    for other in found:
        if other["config_sha256"] != summaries[0]["config_sha256"]:
            raise UsageError(f"{repo.name} holds {other['name']} of another configuration: push to another repository")
        if not options.manifests_only and f"{other['name']}/{other['shards'][0]['name']}" not in files:
            raise UsageError(f"{repo.name} holds manifests without pixels: push pixels to another repository")
    return found
