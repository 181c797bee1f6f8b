"""ImageNet images, of the validation or the training split, in the layouts in common use.

A tree of class folders, one tar or one for each class, a flat folder with a `name label` list, the official tar with
such a list or the devkit's ground truth, Parquet as on the Hub, and WebDataset tars. The layout is detected; what is
ambiguous is refused with a line that says what is needed.
"""

from __future__ import annotations

from manifests.splits import VALIDATION
from pipelines.errors import UsageError
from pipelines.generate.sources.archives import FORMATS, SUFFIXES
from pipelines.generate.sources.arrow import ARROW, arrow_as_parquet
from pipelines.generate.sources.base import Source
from pipelines.generate.sources.classes import class_names, is_synset
from pipelines.generate.sources.compressed import is_compressed, unpacking
from pipelines.generate.sources.labelled import FlatSource, images_in
from pipelines.generate.sources.labels import no_labels, read_labels
from pipelines.generate.sources.nearest import way_on
from pipelines.generate.sources.splits import Archives, find_archives
from pipelines.generate.sources.tree import TreeSource
from pipelines.store import Place


def open_imagenet(root: Place, labels: Place | None, split: str = VALIDATION) -> Source:
    """The source of a split at `root`, in whichever layout it has. Raises UsageError if there is none."""
    single = root.is_file()
    if not single and _has_classes(root, labels):
        no_labels(labels, "the class folders name the labels")
        return TreeSource(root)
    files, suffix, notes = Archives((root,), root.suffix, ()) if single else find_archives(root, split)
    if suffix == ARROW:
        raise UsageError(arrow_as_parquet(root if single else files[0].parent))
    if suffix in FORMATS:
        return FORMATS[suffix].open_files(files, labels, split, notes)
    if single:
        if is_compressed(root.name):
            raise UsageError(unpacking(root))
        raise UsageError(f"--source {root} is neither a folder nor a {SUFFIXES} file")
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


def _open_folder(root: Place, labels: Place | None, split: str) -> Source:
    if not any(images_in(root)):
        raise UsageError(
            f"no images in {root}: expected class folders (n01440764/… or 0/…), images, {SUFFIXES} files"
            f"{way_on(root, split)}"
        )
    if labels is None:
        if class_names([root.name]):
            raise UsageError(f"{root} is itself a class folder: give its parent folder as --source")
        raise UsageError(f"{root} is a flat folder without labels: give a `name label` list with --labels")
    return FlatSource(root, read_labels(labels))
