"""`score.py match`, from a dump and the shards to the printed answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipelines.errors import UsageError
from pipelines.evaluate.match.answer import answer
from pipelines.evaluate.match.dump import Files, Look, Undo, find_files, look, spread
from pipelines.evaluate.match.measure import Group, Measured, groups_of, measure
from pipelines.evaluate.match.rank import rank
from pipelines.evaluate.match.words import skipped
from pipelines.evaluate.options import MatchOptions
from pipelines.shards import Samples, Shards, open_shards
from pipelines.store import place_of
from pipelines.text import number_of

# Channels are swapped if that leaves less than this share of the difference: a photograph with red and blue swapped
# differs by 10 to 30, variants by at most 10.
_SWAPPED = 0.5
# The mean distance from integers above which values were not rounded: float16 with ImageNet's normalisation causes
# 0.03, no rounding 0.25.
_OFF_INTEGERS = 0.1
# More images would take longer and not change the answer.
_MOST = 500
# The decoder that rotates images as their EXIF says.
_TURNS = "opencv_exif"


def match(options: MatchOptions) -> int:
    """Print which variant the device matches; returns exit status 0. Raises UsageError for bad input."""
    if options.dump is not None:
        return _match_dump(options, options.dump)
    from pipelines.evaluate.match.outputs import match_outputs  # a dump needs no model

    return match_outputs(options)


def _match_dump(options: MatchOptions, dump: Path) -> int:
    shards = open_shards(place_of(options.shards, "--shards"))
    if shards.speech:
        from pipelines.evaluate.speech.match import match_mels  # matching images never needs it

        return match_mels(options, shards, dump)
    undo = Undo(options.channels, options.mean, options.std, options.scale, options.layout)
    undo.check()
    known = dict(zip(*(shards.reference.table(c)[c].to_pylist() for c in ("key", "source_orientation")), strict=True))
    files = find_files(dump, known.keys())
    samples = shards.samples()
    shared = [key for key in samples.keys if key in files.by_key]
    if not shared:
        only = min(files.by_key)
        raise UsageError(f"{dump} has only samples that failed in some variant (such as {only}): dump others")
    keys = spread(shared, _MOST)
    seen = look(((key, files.by_key[key]) for key in keys), undo)
    fitting = _fitting(shards, groups_of(shards, keys), seen, files)
    # Grouped again, since images of another size are left out and no longer separate variants.
    measured = measure(shards, groups_of(shards, fitting), {key: files.by_key[key] for key in fitting}, undo)
    if measured.swapped < _SWAPPED * measured.straight:
        other = "bgr" if options.channels == "rgb" else "rgb"
        raise UsageError(
            f"with red and blue swapped, the dump is far nearer to the reference (mean |Δ| {measured.swapped:.1f} "
            f"instead of {measured.straight:.1f}): give --channels {other}"
        )
    print(answer(shards, measured, rank(shards, measured, options.seed)))
    notes = [
        *_count_notes(files, shared, keys, fitting, samples),
        *_pixel_notes(shards, measured, seen, known),
        *shards.notes,
    ]
    if notes:
        print("", *(f"Note: {note}." for note in notes), sep="\n")
    return 0


def _fitting(shards: Shards, groups: Sequence[Group], seen: Look, files: Files) -> list[str]:
    """The keys whose image has the same size in some variant. Raises UsageError if there are none."""
    fitting = [key for key, size in seen.sizes.items() if any(group.sizes[key] == size for group in groups)]
    if fitting:
        return fitting
    key, (width, height) = next(iter(seen.sizes.items()))
    theirs = "×".join(map(str, groups[0].sizes[key]))
    if len(set(seen.sizes.values())) > 1:
        how = "--geometry keep_ratio --size SHORT,LONG"
    elif width == height:
        how = f"--size {width} and the device's --geometry"
    else:
        how = f"--geometry stretch --size {width}x{height}"
    raise UsageError(
        f"{files.by_key[key].name} is {width}×{height}, but {theirs} in the shards: make shards of the device's size, "
        f"as with generate.py {how}"
    )


def _count_notes(
    files: Files, shared: Sequence[str], keys: Sequence[str], fitting: Sequence[str], samples: Samples
) -> Iterator[str]:
    if files.others:
        yield skipped(files.others, "file")
    if failed := len(files.by_key) - len(shared):
        yield f"left out {number_of(failed, 'file')}: the sample failed in a variant of the shards"
    if len(keys) < len(shared):
        yield f"{len(keys):,} of {len(shared):,} images were compared, evenly spread"
    if wrong := sorted(set(keys) - set(fitting)):
        yield f"left out {number_of(len(wrong), 'file')}: no variant has that size ({files.by_key[wrong[0]].name})"


def _pixel_notes(shards: Shards, measured: Measured, seen: Look, orientations: Mapping[str, int]) -> Iterator[str]:
    if seen.off_integers > _OFF_INTEGERS:
        yield (
            f"the dump's values are {seen.off_integers:.2f} from integers on average: the device does not round its "
            "pixels, or --mean, --std and --scale are not exactly its own"
        )
    turned = np.array([orientations[key] > 1 for key in measured.keys])
    best = measured.same[:, int(measured.same.sum(axis=0).argmax())]
    known = any(variant.stages["decode"] == _TURNS for variant in shards.variants.values())
    if not known and turned.any() and not turned.all() and np.array_equal(best, ~turned):
        yield (
            f"the images that differ are exactly those that EXIF says to rotate ({int(turned.sum())}): the device "
            f"rotates them, as OpenCV does; make the variant {_TURNS}"
        )
