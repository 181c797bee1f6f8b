"""The result of comparing reports, and its `results.json` and `results.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.evaluate.compare.alike import check_alike
from pipelines.evaluate.compare.families import Families, families_of
from pipelines.evaluate.compare.pairs import Pair, pairs_of
from pipelines.evaluate.compare.relations import Relation, relations_of
from pipelines.evaluate.compare.report import Report
from pipelines.evaluate.compare.table import Cell, Row, Table, table_of
from pipelines.evaluate.report.words import number, p_equals
from pipelines.style.stages import COMBINED
from pipelines.text import number_of


@dataclass(frozen=True)
class Answer:
    """The table, the paired tests, the relations, the families, and notes on them."""

    table: Table
    pairs: Sequence[Pair]
    relations: Sequence[Relation]
    families: Families
    notes: Sequence[str]

    @property
    def reports(self) -> list[Report]:
        return [row.report for row in self.table.rows]

    @property
    def metric(self) -> str:
        """The metric's display name."""
        return self.reports[0].metric_called

    @property
    def subject(self) -> str:
        """What was scored: `3 models on imagenet, 300 images; reference pil_bilinear`."""
        first = self.reports[0]
        models, images = number_of(len(self.reports), "model"), number_of(first.count, "image")
        return f"{models} on {first.dataset}, {images}; reference {first.reference.name}"


def answer(reports: Sequence[Report], family_words: Sequence[str]) -> Answer:
    """Compare reports. Raises UsageError if their images differ, or a family names none of them."""
    notes = check_alike(reports)
    families = families_of(reports, family_words)
    table, pairs = table_of(reports), pairs_of(reports)
    if families and not family_words:
        listed = "; ".join(f"{name}: {', '.join(members)}" for name, members in families.items())
        notes.append(f"Families by name ({listed}).")
    return Answer(table, pairs.found, relations_of(table), families, [*notes, *table.notes, *pairs.notes])


def verdict(found: Answer) -> str:
    """The paired tests and the correlations in a sentence or two; empty for one model."""
    if len(found.reports) == 1:
        return ""
    real = [pair for pair in found.pairs if pair.significant]
    sentences = [_tested(found, real)] if found.pairs else []
    sentences += [_related(relation) for relation in found.relations if relation.rho is not None]
    return " ".join(sentences)


def _tested(found: Answer, real: Sequence[Pair]) -> str:
    if not real:
        tests = number_of(len(found.pairs), "paired test")
        return f"In none of {tests} does one model suffer significantly more than another."
    worst = max(real, key=lambda pair: abs(pair.delta))
    more, less = (worst.one, worst.other) if worst.delta > 0 else (worst.other, worst.one)
    noise = "all noise combined" if worst.variant == COMBINED else worst.variant
    return (
        f"In {len(real):,} of {number_of(len(found.pairs), 'paired test')}, one model suffers significantly more than "
        f"another; the largest gap is {number(abs(worst.delta))} points, which {noise} costs {more} more than "
        f"{less}."
    )


def _related(relation: Relation) -> str:
    assert relation.rho is not None
    assert relation.p is not None
    name = {"accuracy": "accuracy", "parameters": "the number of parameters", "bytes": "the file's size"}[relation.what]
    return (
        f"Combined Δ against {name}: Spearman's ρ {number(relation.rho)} (p {p_equals(relation.p)}, "
        f"{len(relation.points)} models)."
    )


def as_json(found: Answer) -> dict[str, Any]:
    """The content of `results.json`. Figures are in percent, differences in percentage points."""
    first = found.reports[0]
    return {
        "dataset": first.dataset,
        "metric": first.metric,
        **({"iou_type": first.raw["iou_type"]} if "iou_type" in first.raw else {}),
        "unit": "percent",
        "n": first.count,
        "reference": first.reference.name,
        "models": {row.report.name: _row_json(row) for row in found.table.rows},
        "pairs": [asdict(pair) for pair in found.pairs],
        "relations": {r.what: {"rho": r.rho, "p": r.p, "models": len(r.points)} for r in found.relations},
        "families": {name: list(members) for name, members in found.families.items()},
        "notes": list(found.notes),
    }


def _row_json(row: Row) -> dict[str, Any]:
    report = row.report
    return {
        report.metric: report.reference.value,
        "parameters": report.parameters,
        "bytes": report.bytes,
        "sha256": report.sha256,
        "geometry": report.raw["geometry"],
        "stages": {key: _cell_json(cell) for key, cell in row.cells.items()},
        "dashes": dict(row.dashes),
    }


def _cell_json(cell: Cell) -> Mapping[str, Any]:
    worst = cell.worst
    return {
        "mean": cell.mean,
        "mean_ci95": cell.mean_ci95 and list(cell.mean_ci95),
        "max": worst.delta,
        "max_ci95": list(worst.ci95),
        "p_holm": worst.p_holm,
        "worst": worst.name,
        "methods": cell.methods,
    }


def as_csv(found: Answer) -> str:
    """`results.csv`: a row for each model, with mean, max and their 95% intervals by column, empty for a dash."""
    buffer = io.StringIO()
    parts = ("mean", "mean_low", "mean_high", "max", "max_low", "max_high", "worst")
    keys = [column.key for column in found.table.columns]
    writer = csv.writer(buffer, lineterminator="\n")
    stages = [f"{key}_{part}" for key in keys for part in parts]
    writer.writerow(["model", found.reports[0].metric, "parameters", "bytes", "sha256", *stages])
    for row in found.table.rows:
        report = row.report
        facts = (report.parameters, report.bytes, report.sha256)
        cells = [part for key in keys for part in _cell_csv(row.cells.get(key))]
        writer.writerow(
            [report.name, f"{report.reference.value:.3f}", *("" if f is None else f for f in facts), *cells]
        )
    return buffer.getvalue()


def _cell_csv(cell: Cell | None) -> list[str]:
    if cell is None:
        return [""] * 7
    mean_ends = cell.mean_ci95 or (cell.worst.ci95 if cell.methods == 1 else None)
    ends = [f"{end:.3f}" for end in mean_ends] if mean_ends else ["", ""]
    return [
        f"{cell.mean:.3f}",
        *ends,
        f"{cell.worst.delta:.3f}",
        *(f"{e:.3f}" for e in cell.worst.ci95),
        cell.worst.name,
    ]
