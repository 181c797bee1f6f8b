"""Pushes a dataset's variants: they are verified first, private unless asked otherwise, and the card comes last.

Refuses to push anything unverified, to make images public if their terms forbid it, and to mix configurations, or
manifests with and without pixels, in one repository.
"""

from __future__ import annotations

import contextlib
import fnmatch
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd

from manifests.schema import CARD, SUMMARY, parse_summary
from manifests.shape import NAME
from manifests.splits import SPLITS
from manifests.untrusted import LARGEST_JSON
from manifests.verify import variant_folders
from pipelines.errors import UsageError
from pipelines.generate.croissant import CROISSANT
from pipelines.hub.card import hub_card
from pipelines.hub.client import Repo, quiet
from pipelines.hub.croissant import hub_croissant
from pipelines.hub.look import to_look_at
from pipelines.hub.options import PushOptions
from pipelines.hub.send import Sending, problem_here, send_variants
from pipelines.progress import say
from pipelines.store import Disk, Place, place_of
from pipelines.text import number_of
from pipelines.verify.check import check, show
from pipelines.work.cluster import Ray

# Datasets whose terms forbid passing their images on.
RESTRICTED = frozenset({"imagenet", "cityscapes"})


def push(options: PushOptions) -> int:
    """Push, and print where to; returns the exit status (1 if verification finds problems).

    Everything is checked before anything is written: permissions and the repository's contents first, since verifying
    takes hours.
    """
    quiet()
    folders = _chosen(options)
    summaries = [_summary(folder / SUMMARY, folder.name) for folder in folders]
    repo = Repo(options.repo)
    user = repo.user()
    say(f"pushing as {user}")
    before = repo.visibility()
    restricted = str(summaries[0]["config"]["dataset"]) in RESTRICTED and not options.manifests_only
    if restricted and not options.has_the_right:
        _check_rights(summaries[0]["config"]["dataset"], options, before)
    held = [] if before is None else _held(repo, options, summaries)
    sending = Sending(repo, user)
    with contextlib.closing(Ray(options.cluster)) as ray:
        if options.cluster.address:
            ray.engine().check_nodes(problem_here, sending)
        problems = check(folders, ray)
        if problems:
            show(problems)
            print(f"FAILED: {number_of(len(problems), 'problem')}, nothing was pushed")
            return 1
        if before is None:
            repo.create()
        gated = repo.gated() or (restricted if options.gated is None else options.gated)
        if gated:
            repo.settle(gated=True)
        if options.public and before != "public":
            repo.settle(private=False)
        send_variants(sending, folders, summaries, ray, pixels=not options.manifests_only)
    everything = sorted((*summaries, *held), key=lambda summary: str(summary["name"]))
    shown = to_look_at(folders[0].parent, everything)
    described = shown | {
        CARD: hub_card(repo.name, everything, gated=gated, pixels=not options.manifests_only, shown=shown),
        CROISSANT: hub_croissant(repo, everything, pixels=not options.manifests_only),
    }
    repo.change([CommitOperationAdd(path, data) for path, data in described.items()], (), "Describe the variants")
    print(f"Pushed {', '.join(folder.name for folder in folders)} to {repo.url} ({repo.visibility()}).")
    return 0


def _check_rights(dataset: str, options: PushOptions, before: str | None) -> None:
    """Raises UsageError if images that may not be passed on would be public."""
    if options.public:
        raise UsageError(
            f"the terms of {dataset} do not allow its images to be passed on: leave --public out, push with "
            "--manifests-only, or add --i-have-the-right-to"
        )
    if before == "public":
        raise UsageError(f"{options.repo} is public, but these images may not be: push to a private repository")


def _chosen(options: PushOptions) -> list[Place]:
    """The folders of the requested variants of one dataset; all of them if none was requested."""
    place = place_of(options.path, "PATH")
    folders = {folder.name: folder for folder in variant_folders(place)}
    if not folders or len({folder.parent for folder in folders.values()}) > 1:
        raise UsageError(f"no dataset's shards at {place}: give a folder that generate.py wrote, such as out/coco")
    names = [name for word in options.variants for name in word.split(",")] or list(folders)
    unknown = [name for name in names if name not in folders]
    if unknown:
        raise UsageError(f"{unknown[0]} is not in {place}, which has {', '.join(folders)}")
    return [folders[name] for name in dict.fromkeys(names)]


def _summary(place: Place, variant: str, where: str | None = None) -> dict[str, Any]:
    """The contents of a `manifest.json`; `where` names the repository that it is from."""
    try:
        return parse_summary(place.read(LARGEST_JSON), SUMMARY)
    except (OSError, ValueError):  # a store's errors are neither
        if where:
            raise UsageError(f"{where} has a damaged {SUMMARY} of {variant}: delete that folder there first") from None
        raise UsageError(f"{place.parent} is not finished: run the same generate.py command again") from None


def _held(repo: Repo, options: PushOptions, summaries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The summaries of the repository's other variants, which are not being pushed.

    Raises UsageError if they cannot be in one repository with those that are.
    """
    revision = repo.commit(None)
    files = repo.files(revision)
    if options.manifests_only and any(fnmatch.fnmatch(path, f"*/{split}-*.tar") for path in files for split in SPLITS):
        raise UsageError(f"{repo.name} has pixels, and its history keeps them: push manifests to another repository")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            name, _, file = path.partition("/")
            if file == SUMMARY and NAME.fullmatch(name):
                if files[path] > LARGEST_JSON:
                    raise UsageError(f"{repo.name} has a {SUMMARY} of {files[path]:,} bytes: delete {name} there")
                fetched = Disk(str(repo.fetch(path, revision, Path(folder))))
                found.append(_summary(fetched, name, repo.name))
    for other in found:
        if other["config_sha256"] != summaries[0]["config_sha256"]:
            raise UsageError(
                f"{repo.name} has {other['name']} with a different configuration: push to another repository"
            )
        if not options.manifests_only and f"{other['name']}/{other['shards'][0]['name']}" not in files:
            raise UsageError(f"{repo.name} has manifests without pixels: push pixels to another repository")
    pushed = {summary["name"] for summary in summaries}
    return [other for other in found if other["name"] not in pushed]
