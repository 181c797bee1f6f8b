"""Check shards against their manifests, for `verify.py` and for a push to the Hub."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from manifests.schema import SUMMARY, parse_summary
from manifests.untrusted import LARGEST_JSON
from manifests.verify import Problem, check_card, check_folder, records_in, tar_steps
from pipelines.errors import SHARE, SysNoiseError
from pipelines.generate.datasets import DATASETS
from pipelines.generate.wording import wording
from pipelines.progress import counted
from pipelines.store import Place
from pipelines.text import one_line
from pipelines.work import Finished, Progress, Work, crew
from pipelines.work.cluster import Ray

_SHOWN = 10
Piece = TypeVar("Piece")


@dataclass(frozen=True)
class _Folder:
    """A variant's manifests."""

    place: Place


@dataclass(frozen=True)
class _Tar:
    """The tar of a record, which lies at `place`."""

    place: Place


def check(folders: Sequence[Place], ray: Ray) -> list[Problem]:
    """Every problem in these variants: in their cards, their manifests, and every byte and image of their tars."""
    problems = [problem for root in dict.fromkeys(folder.parent for folder in folders) for problem in check_card(root)]
    tars = [_Tar(record) for folder in folders for record in records_in(folder)]
    pieces: list[_Folder | _Tar] = [*map(_Folder, folders), *tars]
    work = Work(_check, folders[0], lambda piece: str(piece.place))
    return problems + problems_in(pieces, work, ray, samples_in(folders), folders, "checked")


def samples_in(folders: Sequence[Place]) -> int | None:
    """How many samples the variants have according to their manifests; None if a manifest cannot be read."""
    try:
        return sum(int(_summary(folder)["totals"]["samples"]) for folder in folders)
    except (OSError, ValueError):  # the check will report it
        return None


def dataset_of(folder: Place) -> str:
    """The dataset of the variant in `folder`; `sample` if its manifest does not say."""
    with contextlib.suppress(OSError, ValueError):
        name = str(_summary(folder)["config"]["dataset"])
        return name if name in DATASETS else "sample"
    return "sample"


def item_in(folders: Iterable[Place]) -> str:
    """What these variants' shards contain: `image`, `spectrogram`, or `sample` if there are both."""
    one_of_each_set = {folder.parent: folder for folder in folders}
    items = {wording(dataset_of(folder)).item for folder in one_of_each_set.values()}
    return items.pop() if len(items) == 1 else "sample"


def _summary(folder: Place) -> dict[str, Any]:
    return parse_summary((folder / SUMMARY).read(LARGEST_JSON), SUMMARY)


def problems_in(
    pieces: Sequence[Piece],
    work: Work[Piece, Place, list[Problem]],
    ray: Ray,
    samples: int | None,
    folders: Sequence[Place],
    done: str,
    gpu: bool = False,
) -> list[Problem]:
    """The problems that `work` finds in the pieces, in the pieces' order.

    Progress is shown as how many of the samples in `folders` are `done` ("checked").
    """
    of: dict[int, list[Problem]] = {}
    item = item_in(folders)
    unit = "img" if item == "image" else f"{item}s"
    with (
        counted(samples, unit, f"{item}s {done}") as advance,
        contextlib.closing(crew.each(work, pieces, ray, _problem_here, gpu)) as steps,
    ):
        for step in steps:
            advance("", step.images if isinstance(step, Progress) else 0)
            if isinstance(step, Finished):
                of[id(step.piece)] = step.result
    return [problem for piece in pieces for problem in of[id(piece)]]


def show(problems: Sequence[Problem]) -> None:
    """Print the first problems, and how many more there are."""
    for problem in problems[:_SHOWN]:
        print(one_line(str(problem)))
    if len(problems) > _SHOWN:
        print(f"… and {len(problems) - _SHOWN:,} more")


def _check(piece: _Folder | _Tar, _: Place, careful: bool) -> Generator[int, None, list[Problem]]:
    return check_folder(piece.place) if isinstance(piece, _Folder) else (yield from tar_steps(piece.place))


def _problem_here(folder: Place) -> str | None:
    """Why this machine cannot read the first variant's folder; None if it can."""
    try:
        return None if folder.is_dir() else f"{folder} does not exist: {SHARE}"
    except SysNoiseError as error:
        return str(error)
