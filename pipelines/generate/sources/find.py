"""From what a user wrote on the command line to a source and its samples."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from manifests.kinds import kind_of as kind_of_set
from manifests.splits import VALIDATION
from pipelines.errors import UsageError
from pipelines.generate.sources.base import Missing, Sample, Source
from pipelines.generate.sources.catalogue import Catalogue
from pipelines.generate.sources.cityscapes import open_cityscapes
from pipelines.generate.sources.coco import open_coco
from pipelines.generate.sources.held import RECORDINGS, held_at
from pipelines.generate.sources.imagenet import open_imagenet
from pipelines.generate.sources.pointers import LARGEST_POINTER, WHAT_TO_DO, is_pointer, refuse_pointers
from pipelines.generate.sources.reading import Archived, Spread, here
from pipelines.generate.sources.sample import SampleSource
from pipelines.generate.sources.speech import open_speech
from pipelines.generate.sources.spoken import SpokenSource
from pipelines.options import Inputs
from pipelines.progress import TICK, say
from pipelines.store import Place, place_of
from pipelines.wording import wording


class Found(NamedTuple):
    """A source, its samples in order, its facts for the manifest, the sizes that it states, and notes for the user."""

    source: Source
    samples: Catalogue
    facts: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int]]
    notes: list[str]


def find(dataset: str, inputs: Inputs, limit: int | None, spread: Spread = here, split: str = VALIDATION) -> Found:
    """Open the source that the inputs name, and list its first `limit` samples. Raises UsageError if there are none.

    `spread` lists archives.
    """
    what = wording(dataset).sample
    try:
        source = _open(dataset, inputs, split)
        listing = source.listing(spread) if isinstance(source, Archived) else source.listing()
        small = _Small(what)
        samples = Catalogue(
            small.watch(_counted(listing.samples)),
            limit,
            longer_keys=listing.longer_keys,
            longest_key=kind_of_set(dataset).longest_key,
        )
    except UsageError:
        refuse_pointers(_files(inputs))
        _refuse_others(dataset, inputs)
        raise
    except OSError as error:
        raise UsageError(f"the source cannot be read ({error})") from None
    if not samples:
        raise UsageError(f"the source has no {what}s")
    notes = [*listing.notes, *small.notes(source)]
    if samples.renamed:
        notes.append(f"{samples.renamed:,} {what}s share a name with another: their keys are like {samples.example}")
    return Found(source, samples, listing.facts, listing.sizes, notes)


def _refuse_others(dataset: str, inputs: Inputs) -> None:
    """Raises UsageError if the source has recordings instead of images, or the reverse."""
    if inputs.source is None:
        return
    place = place_of(inputs.source, "--source")
    found = held_at(place)
    if found and (found == RECORDINGS) != (dataset == "speech"):
        suits = "speech" if found == RECORDINGS else "imagenet, coco or cityscapes"
        raise UsageError(f"{place} has {found}, not {wording(dataset).sample}s: give --dataset {suits}")


class _Small:
    """Counts the samples that are small enough to be Git LFS pointers, and remembers the first."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._first: Sample | None = None
        self._count = self._all = 0

    def watch(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        for sample in samples:
            self._all += 1
            if sample.size <= LARGEST_POINTER and sample.place:
                self._count += 1
                self._first = self._first or sample
            yield sample

    def notes(self, source: Source) -> list[str]:
        """A note if the first of them is a pointer. Raises UsageError if all samples may be."""
        data = next(iter(source.read([self._first]))) if self._first else b""
        if not self._first or isinstance(data, Missing) or not is_pointer(data):
            return []
        path = self._first.path
        if self._count == self._all:
            raise UsageError(f"{path} in the source is a Git LFS pointer, not the file itself: {WHAT_TO_DO}")
        return [
            f"{path} is a Git LFS pointer; {self._count:,} of {self._all:,} {self._what}s are small enough to be one, "
            f"and fail if they are: {WHAT_TO_DO}"
        ]


def _files(inputs: Inputs) -> Iterator[Place]:
    """The files among the inputs."""
    for option, text in (
        ("--source", inputs.source),
        ("--labels", inputs.labels),
        ("--annotations", inputs.annotations),
    ):
        if text and (place := place_of(text, option)).is_file():
            yield place


def _counted(samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples. If listing takes long, their number so far is reported every few seconds."""
    last = time.monotonic()
    for count, sample in enumerate(samples, 1):
        yield sample
        if (now := time.monotonic()) - last >= TICK:
            say(f"{count:,} samples listed")
            last = now


def _open(dataset: str, inputs: Inputs, split: str) -> Source:
    source, labels, annotations = inputs.source, inputs.labels, inputs.annotations
    for option, text, suits in (
        ("--source", source, dataset != "sample"),
        ("--labels", labels, dataset == "imagenet"),
        ("--annotations", annotations, dataset == "coco"),
    ):
        if text and not suits:
            raise UsageError(f"{option} does not apply to --dataset {dataset}: leave it out, or choose another dataset")
    if split != VALIDATION and dataset != "imagenet":
        raise UsageError(f"--split {split} applies only to --dataset imagenet, not to {dataset}: leave it out")
    if dataset == "sample":
        return SampleSource()
    if dataset == "speech" and source is None:
        return SpokenSource()
    if source is None:
        raise UsageError(f"--dataset {dataset} needs --source PATH: the folder or archive with its images")
    root = place_of(source, "--source")
    if not root.is_file() and not root.is_dir():
        raise UsageError(f"--source {root} does not exist")
    if dataset == "speech":
        return open_speech(root)
    if dataset == "coco":
        return open_coco(root, place_of(annotations, "--annotations") if annotations else None)
    if dataset == "cityscapes":
        return open_cityscapes(root)
    return open_imagenet(root, place_of(labels, "--labels") if labels else None, split)
