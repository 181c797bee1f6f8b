"""One finished variant of a set: its folder, its `manifest.json` and the rows of its `manifest.parquet`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from generators.registry import AUDIO_STAGES, MODEL_STAGES, STAGES, order
from generators.variant import NONE, changed
from manifests.kinds import kind_of
from manifests.row import Kind, is_key
from manifests.schema import SUMMARY, TABLE, parse_summary
from manifests.untrusted import LARGEST_JSON, read_groups
from pipelines.errors import RunError, UsageError
from pipelines.store import Place
from pipelines.text import first_line

# More keys than this take gigabytes of memory.
_MOST_SAMPLES = 10_000_000


@dataclass(frozen=True)
class FinishedVariant:
    """A finished variant: its name, its folder and the content of its `manifest.json`.

    A variant with noise in the model, or in its output, has the folder and the manifest of the variant with its pixels;
    `noise` maps each of those stages to its token, and is empty for a variant of the pixels only.
    """

    name: str
    folder: Place
    summary: Mapping[str, Any]
    noise: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What its samples are: images or spectrograms."""
        return kind_of(str(self.summary["config"]["dataset"]))

    @property
    def stages(self) -> Mapping[str, str]:
        """The token of each stage; `none` for a stage that is left out."""
        return {**dict.fromkeys((*self.kind.stages, *MODEL_STAGES), NONE), **self.summary["variant"], **self.noise}

    @property
    def pixels(self) -> str:
        """The name of the variant with its pixels and no noise in the model."""
        return self.folder.name

    @property
    def pixels_sha256(self) -> str:
        """A digest that is equal for variants whose pixels, or spectrograms, are equal in every sample."""
        return str(self.summary[self.kind.digest_of_all])

    @property
    def mean_residual(self) -> float | None:
        """Mean absolute difference from the reference, 0 to 255; None if nothing could be compared."""
        found: float | None = self.summary["residual"]["mean_abs"]
        return found

    def keys(self) -> list[str]:
        """The keys of the samples in its tars, in order."""
        table = self.table("key", "status")
        found: list[str] = table.filter(pc.equal(table["status"], "ok"))["key"].to_pylist()
        return found

    def table(self, *columns: str) -> pa.Table:
        """These columns of the manifest, with a row for each source sample in order of keys.

        Raises RunError if the table is missing or damaged.
        """
        rows, parts, schema = 0, [], pa.schema([self.kind.columns.field(name) for name in columns])
        try:
            with (self.folder / TABLE).open() as file:
                for part in read_groups(file, schema):
                    rows += part.num_rows
                    if rows > _MOST_SAMPLES:
                        raise ValueError(f"it has more than {_MOST_SAMPLES:,} rows")
                    parts.append(part)
            _check_rows(rows, self.summary["totals"], parts)
            return pa.concat_tables([schema.empty_table(), *parts])
        except FileNotFoundError:
            raise RunError(f"{self.folder / TABLE} is missing: run the same generate.py command again") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.folder / TABLE} cannot be read ({first_line(error)}): run verify.py") from None


def _check_rows(rows: int, totals: Mapping[str, int], parts: Iterable[pa.Table]) -> None:
    """Raises ValueError if the number of rows contradicts the manifest, or if a key is invalid."""
    if rows != totals["samples"] + totals["failed"]:
        raise ValueError(f"it has {rows:,} rows, but its {SUMMARY} says otherwise")
    for part in parts:
        if "key" in part.column_names and not all(map(is_key, part["key"].to_pylist())):
            raise ValueError("it has an invalid key")


def read_variant(folder: Place) -> FinishedVariant:
    """The finished variant in a folder. Raises UsageError if its manifest is damaged or has another name."""
    path = folder / SUMMARY
    try:
        summary = parse_summary(path.read(LARGEST_JSON), SUMMARY)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is damaged ({first_line(error)}): run verify.py") from None
    if summary["name"] != folder.name:
        raise UsageError(f"{folder} contains the variant {summary['name']}: rename the folder to that")
    return FinishedVariant(folder.name, folder, summary)


def in_order(variants: Iterable[FinishedVariant], reference: FinishedVariant) -> dict[str, FinishedVariant]:
    """Variants by name: the reference first, then single stages in the order of stages, of the registry and of
    versions, then compositions."""
    others = (variant for variant in variants if variant is not reference)
    ordered = sorted(others, key=lambda variant: place_among(variant, reference.stages))
    return {variant.name: variant for variant in (reference, *ordered)}


def place_among(variant: FinishedVariant, base: Mapping[str, str]) -> tuple[int, list[tuple[Any, ...]], str]:
    """Sorts variants in that order, given the reference's token of each stage."""
    stages = changed(variant.stages, base)
    places = [((*AUDIO_STAGES, *STAGES).index(stage), *order(variant.stages[stage])) for stage in stages]
    return len(places), places, variant.name
