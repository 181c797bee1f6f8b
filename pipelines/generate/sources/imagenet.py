"""ImageNet images, of the validation or the training split, in the layouts in common use.

A tree of class folders, one tar or one for each class, a flat folder with a `name label` list, the official tar with
such a list or the devkit's ground truth, Parquet as on the Hub, and WebDataset tars. The layout is detected; what is
ambiguous is refused with a line that says what is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from manifests.splits import TRAIN, VALIDATION
from pipelines.errors import UsageError
from pipelines.generate.sources.base import Source
from pipelines.generate.sources.classes import class_names, is_synset
from pipelines.generate.sources.labelled import FlatSource, TarSource, images_in
from pipelines.generate.sources.labels import read_labels
from pipelines.generate.sources.nearest import is_compressed, unpacking, way_on
from pipelines.generate.sources.parquet import ParquetSource, arrow_as_parquet
from pipelines.generate.sources.splits import Archives, find_archives
from pipelines.generate.sources.tree import TreeSource
from pipelines.generate.sources.tree_tar import TreeTarSource, class_in, holds_classes
from pipelines.generate.sources.webdataset import WebDatasetSource
from pipelines.store import Place


def open_imagenet(root: Place, labels: Place | None, split: str = VALIDATION) -> Source:
    """The source of a split at `root`, in whichever layout it has. Raises UsageError if there is none."""
    single = root.is_file()
    if not single and _has_classes(root, labels):
        _no_labels(labels, "the class folders name the labels")
        return TreeSource(root)
    files, kind, notes = Archives((root,), root.suffix, ()) if single else find_archives(root, split)
    if kind == ".parquet":
        _no_labels(labels, "a Parquet file holds its own labels")
        return ParquetSource(files, notes)
    if kind == ".tar":
        if labels:
            return TarSource(files, read_labels(labels), notes)
        if holds_classes(files[0]):
            return TreeTarSource(files, (*notes, *_taken_split(files, split)))
        return WebDatasetSource(files, notes)
    if kind == ".arrow":
        raise UsageError(arrow_as_parquet(root if single else files[0].parent))
    if single:
        if is_compressed(root.name):
            raise UsageError(unpacking(root))
        raise UsageError(f"--source {root} is neither a folder nor a .tar or .parquet file")
    return _open_folder(root, labels, split)


def _has_classes(root: Place, labels: Place | None) -> bool:
    """Whether a folder is to be read as class folders.

    Synsets are recognised by name. Numbers can mean many things: such folders must contain images, and not be next to
    images that have labels.
    """
    names = class_names(root.folders())
    if any(map(is_synset, names)):
        return True
    tree = TreeSource(root)
    return any(tree.look_into(name).samples for name in names) and not (labels and any(images_in(root)))


def _taken_split(files: Sequence[Place], split: str) -> list[str]:
    """A note if there is one tar for each class, since their names do not say which split they are of."""
    if not all(class_in(file.name) for file in files):
        return []
    other = TRAIN if split == VALIDATION else VALIDATION
    return [f"the tars of {files[0].parent} name no split: read as {split} (for the other, give --split {other})"]


def _no_labels(labels: Place | None, why: str) -> None:
    if labels is not None:
        raise UsageError(f"--labels {labels} is not needed, since {why}: leave it out")


def _open_folder(root: Place, labels: Place | None, split: str) -> Source:
    if not any(images_in(root)):
        raise UsageError(
            f"no images in {root}: expected class folders (n01440764/… or 0/…), images, .tar or .parquet files"
            f"{way_on(root, split)}"
        )
    if labels is None:
        if class_names([root.name]):
            raise UsageError(f"{root} is itself a class folder: give its parent folder as --source")
        raise UsageError(f"{root} is a flat folder without labels: give a `name label` list with --labels")
    return FlatSource(root, read_labels(labels))
