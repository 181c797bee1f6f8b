"""Finds the requested split among the Parquet files or tars of a folder, in the layouts in which data sets are shared.

The split is in file names (`val-00000-of-00001.parquet`, `x-train-0000.tar`), in timm's `_info.json`, or in the names
of folders (`default/validation/0000.parquet`). A split that is the only one is read whatever its name, unless the
training split is requested and this is another. Refuses several splits if none, or more than one, is the requested one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from manifests.splits import TRAIN, VALIDATION
from manifests.untrusted import LARGEST_JSON, parse_description
from pipelines.errors import UsageError
from pipelines.generate.sources.archives import FORMATS
from pipelines.generate.sources.arrow import ARROW
from pipelines.generate.sources.base import IMAGE_SUFFIXES, is_litter
from pipelines.generate.sources.pointers import LARGEST_POINTER, refuse_pointers
from pipelines.store import Place

_SUFFIXES = (*FORMATS, ARROW)
_NAMES = {VALIDATION: frozenset({"val", "valid", "validation"}), TRAIN: frozenset({"train", "training"})}
_SPLITS = frozenset({"trainval", "test", "testing", "dev", "eval", "evaluation", "unlabeled"}).union(*_NAMES.values())
# The Hub's writers append this to a split's name: number, count, and a digest.
_COUNTED = re.compile(r"(.+?)-\d+-of-\d+(-[0-9a-f]+)?")
_INFO = "_info.json"
# Levels of folders that are searched, and the most folders that one may have without being taken for class folders.
_DEEPEST, _MOST_FOLDERS = 3, 50
_SYNSET = re.compile(r"n\d{8}")
# The most splits listed in a message.
_MOST_NAMED = 8


class Archives(NamedTuple):
    """Files of one split, their suffix, and notes for the user about the choice."""

    files: tuple[Place, ...]
    suffix: str
    notes: tuple[str, ...]


def find_archives(root: Place, split: str = VALIDATION) -> Archives:
    """The split's Parquet files, tars or Arrow files in `root`, in its `data`, or in folders named after splits.

    Returns no files if there are none. Raises UsageError if it is ambiguous which files belong to the split, and for
    files that are Git LFS pointers.
    """
    return _find(root, split, 0) or Archives((), "", ())


def _find(root: Place, split: str, depth: int) -> Archives | None:
    data = root / "data"
    here, inside = root.files(), data.files()
    for suffix in _SUFFIXES:
        for folder, files in ((root, here), (data, inside)):
            if names := _of_kind(files, suffix):
                return _chosen(folder, files, names, suffix, split)
    if any(name.lower().endswith(IMAGE_SUFFIXES) for name in here):
        return None
    folders = [name for name in root.folders() if not name.startswith(".") and not is_litter(name)]
    if len(folders) > _MOST_FOLDERS or any(map(_SYNSET.fullmatch, folders)):
        return None
    return _in_folders(root, folders, split, depth)


def _in_folders(root: Place, folders: Collection[str], split: str, depth: int) -> Archives | None:
    held = [name for name in folders if _words(name) and _kind((root / name).names())]
    if held:
        chosen, notes = _of_split(split, root, {name: "+".join(sorted(_words(name))) for name in held}, "folder")
        (name, *more) = chosen
        if more:
            raise UsageError(f"{root} has {name} and {more[0]}, both of the same split: give one of them as --source")
        below = root / name
        files = below.files()
        kind = _kind(files)
        found = _chosen(below, files, _of_kind(files, kind), kind, split)
        return found._replace(notes=(*notes, *found.notes))
    further = [name for name in folders if name == "default"] or ([*folders] if len(folders) == 1 else [])
    if not further or depth == _DEEPEST:
        return None
    return _find(root / further[0], split, depth + 1)


def _kind(names: Iterable[str]) -> str:
    """The first kind that any of these files has; empty if there is none."""
    return next((suffix for suffix in _SUFFIXES if _of_kind(names, suffix)), "")


def _of_kind(names: Iterable[str], suffix: str) -> list[str]:
    return [name for name in names if name.lower().endswith(suffix) and not is_litter(name)]


def _chosen(folder: Place, sizes: Mapping[str, int], names: Collection[str], suffix: str, split: str) -> Archives:
    stated = _stated(folder, split) if _INFO in sizes else {}
    chosen, notes = _of_split(split, folder, {**_split_of_each(names), **_only(stated, names)}, "file")
    files = tuple(folder / name for name in chosen)
    refuse_pointers(folder / name for name in chosen if sizes[name] <= LARGEST_POINTER)
    return Archives(files, suffix, notes)


def _only(stated: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: stated[name] for name in names if name in stated}


def _of_split(wanted: str, folder: Place, split: Mapping[str, str], what: str) -> tuple[list[str], tuple[str, ...]]:
    """The names that belong to the requested split, or to the only one; a note reports what was skipped."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in split:
        groups[split[name]].append(name)
    if len(groups) == 1:
        if wanted == TRAIN:
            _refuse_others(folder, split)
        return [*split], ()
    found = [name for name in groups if name and _is_of(wanted, name)]
    if len(found) != 1:
        trouble = f"several are {wanted}" if found else f"none is clearly {wanted}"
        raise UsageError(
            f"{folder} has several splits, and {trouble}: {_listed(groups, what)}; give the {what}, or a folder with "
            "only one split, as --source"
        )
    others = {name: groups[name] for name in groups if name != found[0]}
    return groups[found[0]], (f"{folder}: using the split `{found[0]}`; skipped: {_listed(others, what)}",)


def _refuse_others(folder: Place, split: Mapping[str, str]) -> None:
    """Raises UsageError if files or folders of one split belong to another than the training split."""
    named = {word for name, of in split.items() for word in (*_words(PurePosixPath(name).stem), *of.split("+")) if word}
    if named and named <= _SPLITS - _NAMES[TRAIN]:
        raise UsageError(f"{folder} has only {'+'.join(sorted(named))}: give the training split, or leave --split out")


def _is_of(wanted: str, name: str) -> bool:
    """Whether a split's words name the requested split, and no other."""
    return _NAMES[wanted].issuperset(name.split("+"))


def _listed(groups: Mapping[str, Collection[str]], what: str) -> str:
    described = [
        f"{name or 'unnamed'} ({f'{len(held):,} {what}s, ' if len(held) > 1 else ''}{min(held)})"
        for name, held in sorted(groups.items())
    ]
    return ", ".join(described[:_MOST_NAMED] + ["…"][: len(described) > _MOST_NAMED])


def _split_of_each(names: Collection[str]) -> dict[str, str]:
    """The words for splits in each name, except those in all of them: the data set may be called `valid-shapes`."""
    words = {name: _words(PurePosixPath(name).stem) for name in names}
    common = frozenset.intersection(*words.values())
    return {name: "+".join(sorted(held - common)) for name, held in words.items()}


def _words(stem: str) -> frozenset[str]:
    """A name's words for splits. A file named by a writer of the Hub without such a word has its own split's name."""
    counted = _COUNTED.fullmatch(stem.lower())
    words = _SPLITS & {*re.findall("[a-z]+", counted[1] if counted else stem.lower())}
    return words or frozenset({counted[1]} if counted else ())


def _stated(folder: Place, split: str) -> dict[str, str]:
    """The split of each file named in `_info.json`; the requested one, if a file is in several."""
    try:
        splits = parse_description((folder / _INFO).read(LARGEST_JSON))["splits"]
        named = {str(name): [str(file) for file in splits[name]["filenames"]] for name in splits}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {file: name for name in sorted(named, key=_NAMES[split].__contains__) for file in named[name]}
