"""The report's texts and figures, against values recomputed from results.json."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import pytest

from pipelines.evaluate.advice import Advice
from pipelines.evaluate.report import text, words
from pipelines.evaluate.report.page import page
from pipelines.evaluate.report.row import row
from pipelines.evaluate.results import Results
from pipelines.evaluate.results_json import as_json
from tests.pipelines.evaluate.made import MODEL, PIXELS, made, whole

NOT_BOXES = {name: cost for name, cost in MODEL.items() if not name.startswith("box")}
DETECTOR = {name: cost for name, cost in MODEL.items() if not name.endswith("_mode")}
STRIDES = {"ceil_mode": "max-pooling has strides of 1 only"}
HEADS = {
    **{"decode": "Decode", "resize": "Resize", "color": "Color Mode", "pool": "Ceil Mode", "upsample": "Upsample"},
    "boxes": "Post-processing",
}


def test_classes_have_their_own_table() -> None:
    results = made("miou", {"ffmpeg": 0.01, "fp16": 0.02})
    assert "| class |" not in text.markdown(results)
    assert "iou" not in as_json(results)["variants"]["fp16"]
    theirs: dict[str, dict[str, float]] = {
        "pil": {"road": 90, "wall": 40},
        "ffmpeg": {"road": 85, "wall": 40},
        "fp16": {"road": 87.5, "sky": 1},
    }
    reference, *lines = [replace(line, by_class=theirs[line.name]) for line in (results.reference, *results.lines)]
    results = replace(results, reference=reference, lines=lines)
    table = [line for line in text.markdown(results).splitlines() if line.startswith(("| road", "| wall", "| sky"))]
    assert table == ["| road | 90.00 | +5.00 | `ffmpeg` |", "| wall | 40.00 | – |  |"]
    assert as_json(results)["variants"]["fp16"]["iou"] == theirs["fp16"]
    html = page(results, [])
    assert re.findall(r'data-class="(\w+)".*?<td>([\d.]+)</td><td>(.*?)</td><td>(.*?)</td>', html) == [
        ("road", "90.00", "+5.00", "ffmpeg"),
        ("wall", "40.00", "–", ""),
    ]


@pytest.fixture(scope="module")
def detector() -> Results:
    return whole("map", {**PIXELS, **DETECTOR}, reasons=STRIDES, unchanged=("fp16",))


def test_the_report_says_that_masks_were_scored(detector: Results) -> None:
    for iou_type, what in (("bbox", "mAP"), ("segm", "mask mAP")):
        results = replace(detector, iou_type=iou_type)
        assert as_json(results)["iou_type"] == iou_type
        assert re.search(rf"variant +{what} +Δ", text.terminal(results, "report"))
        assert f"points of {what};" in text.markdown(results)
        assert f"| Trained {what} |" in text.markdown(results)
        assert f" points of {what} (" in words.verdict(results)


def expected(found: dict[str, Any]) -> dict[str, tuple[str, list[str]]]:
    """The text of each cell, and the variants behind its intervals, computed from results.json only."""
    reference = found["variants"][found["reference"]]["stages"]
    by_stage: dict[str, dict[str, float]] = {}
    for name, mine in found["variants"].items():
        changed = [stage for stage, token in mine["stages"].items() if token != reference[stage]]
        if len(changed) == 1:
            by_stage.setdefault(changed[0], {})[name] = mine["delta"]
    cells = {}
    for stage, head in HEADS.items():
        costs = by_stage.get(stage, {})
        mean, worst = (sum(costs.values()) / len(costs), max(costs.values())) if costs else (0.0, 0.0)
        figures = f"{mean:.2f} ({worst:.2f})" if len(costs) > 1 else f"{mean:.2f}"
        cells[head] = (figures if costs else "–", [name for name in costs if costs[name] == worst])
    pair = [name for name in ("fp16", "int8") if name in found["variants"]]
    shown = [f"{found['variants'][n]['delta']:.2f}" if n in pair else "–" for n in ("fp16", "int8")]
    cells["Precision (FP16 / INT8)"] = (" / ".join(shown), pair)
    last = found["combined"]
    cells["Combined"] = (f"{last['delta']:.2f}", [last["variant"]]) if last else ("–", [])
    return cells


def plain(cell: str) -> str:
    return cell.replace("−", "-").replace("-0.00", "0.00")


def markdown_row(results: Results) -> dict[str, str]:
    head, _, cells, *_ = text.markdown(results).splitlines()
    return dict(zip(*(re.split(r"(?<!\\)\|", line)[1:-1] for line in (head, cells)), strict=True))


@pytest.mark.parametrize("metric", ["top1", "map", "miou"])
def test_every_cell_has_the_figure_and_the_interval_of_results_json(metric: str) -> None:
    pixels = {name: cost for name, cost in PIXELS.items() if metric != "miou" or "_" not in name or "nv12" in name}
    costs = {**pixels, **(DETECTOR if metric == "map" else NOT_BOXES)}
    results = whole(metric, costs, reasons=STRIDES if metric == "map" else {}, unchanged=("fp16", "floor_mode"))
    found, shown = as_json(results), markdown_row(results)
    cells = {head.strip(): cell.strip() for head, cell in shown.items()}
    assert list(cells)[:2] == [
        "Architecture",
        {"top1": "Trained ACC", "map": "Trained mAP", "miou": "Trained mIoU"}[metric],
    ]
    wanted = expected(found)
    assert len(wanted) - len(cells) + 2 == {"top1": 1, "map": 0, "miou": 1}[metric]
    for head, (figures, names) in wanted.items():
        if head not in cells:
            assert figures == "–"
            continue
        first, *lines = cells[head].split("<br>")
        assert plain(first) == plain(figures)
        assert len(lines) == (len(names) if "/" in head else min(len(names), 1))
        for line in lines:
            name = line.split("`")[1]
            assert name in names
            mine = found["variants"][name]
            low, high = re.search(r"95% (\S+) to (\S+),", plain(line)).groups()  # type: ignore[union-attr]
            assert [float(low), float(high)] == pytest.approx(mine["ci95"], abs=0.005)
            p = re.search(r"p (?:= |\\< )([\d.]+)", line)[1]  # type: ignore[index]
            assert float(p) == pytest.approx(max(mine["p_holm"], 0.001), abs=5e-4)
            assert ("changed nothing" in line) == (mine["unchanged"] and not mine["degenerate"])


def test_columns_follow_the_paper(detector: Results) -> None:
    stages = ["decode", "resize", "color", "precision", "pool", "upsample", "boxes", "combined"]
    assert [cell.column for cell in row(detector)] == stages
    classifier = made("top1", {"ffmpeg": 0.01})
    assert [cell.column for cell in row(classifier)] == [*stages[:5], "combined"]
    assert [cell.column for cell in row(made("miou", {"ffmpeg": 0.01}))] == [*stages[:6], "combined"]
    assert "upsample" in [cell.column for cell in row(made("top1", {"upsample_nearest": 0.01}))]


def test_a_dash_has_a_reason_and_is_not_a_zero(detector: Results) -> None:
    cells = {cell.column: cell for cell in row(detector)}
    assert (cells["pool"].text, cells["pool"].dashes) == ("–", [f"ceil_mode: {STRIDES['ceil_mode']}"])
    assert [cell.column for cell in cells.values() if cell.dashes] == ["pool"]
    assert cells["precision"].text.startswith("0.00 / ")  # it changed nothing, which is not a dash
    few = made("top1", {"ffmpeg": 0.01, "pil_nearest": 0.05, "int8": 0.02}, reasons={"fp16": "it overflows"})
    cells = {cell.column: cell for cell in row(few)}
    assert cells["precision"].text.startswith("– / ")
    assert cells["precision"].dashes == ["fp16: it overflows"]
    assert cells["color"].dashes == ["not among the scored variants"]
    assert cells["combined"].dashes == ["its steps need more predictions, which are listed below"]
    assert {cell.column: cell for cell in row(made("miou", {"ffmpeg": 0.01}))}["resize"].dashes == [
        "images keep their size"
    ]
    shown = text.markdown(few)
    assert "- Precision (FP16 / INT8): – fp16: it overflows" in shown
    assert "## What does not apply\n\n- fp16: it overflows\n" in shown
    assert "Does not apply: fp16 (it overflows)." in text.terminal(few, "report")


def test_missing_variants_are_listed_with_their_commands() -> None:
    results = made("top1", {"ffmpeg": 0.01, "pil_nearest": 0.05, "int8": 0.02})
    assert len(results.commands) == 2
    for shown in (text.markdown(results).replace("\\", ""), text.terminal(results, "report")):
        for said in (*results.missing, *(command.removeprefix("generate.py ") for command in results.commands)):
            assert said in shown
    # Existing shards need no command, only predictions.
    shown = text.terminal(replace(results, commands=[]), "report")
    assert results.missing[0] in shown
    assert "generate.py" not in shown


def test_both_orders_are_shown_and_one_where_they_are_the_same(detector: Results) -> None:
    paper, worst = (line for line in text.terminal(detector, "report").splitlines() if " → + " in line)
    for shown, steps in ((paper, detector.paper_steps), (worst, detector.steps)):
        figures = [f"+ {step.method} {detector.line(step.variant).figures['map']:.2f}" for step in steps]
        assert re.split(" → ", shown)[1:] == figures
    same = whole("top1", {"ffmpeg": 0.08, "pil_nearest": 0.03})
    assert list(same.steps) == list(same.paper_steps)
    (only,) = (line for line in text.terminal(same, "report").splitlines() if " → + " in line)
    assert only.startswith(words.IN_BOTH_ORDERS)


def test_the_verdict_has_the_worst_mismatch_and_the_combined_cost(detector: Results) -> None:
    found = as_json(detector)
    single = {name: mine for name, mine in found["variants"].items() if "+" not in name}
    worst = max(single, key=lambda name: single[name]["delta"])
    said, last = words.verdict(detector), found["combined"]
    assert said.startswith(
        f"The worst mismatch, {worst}, costs {single[worst]['delta']:.2f} points of mAP (unadjusted 95% "
    )
    assert f"Everything combined, {last['variant']}, costs {last['delta']:.2f} points (95% interval " in said
    assert "combined methods, except int8, were chosen" in text.markdown(detector)
    assert "combined methods were chosen" in text.markdown(whole("top1", {"ffmpeg": 0.03, "pil_nearest": 0.05}))
    # A single stage is not a combination.
    alone = made("top1", {"pil_nearest": 0.05})
    assert alone.combined is not None
    assert "combined" not in words.verdict(alone)
    assert "chosen" not in text.markdown(alone)
    better = whole("top1", {"ffmpeg": -0.05, "pil_nearest": -0.06})
    assert words.verdict(better).startswith("No variant alone lowers top-1 below the reference's")
    assert "costs nothing here" in words.verdict(better)
    same = made("top1", {"opencv": 0.0, "fp16": 0.0}, unchanged=("fp16",))
    assert words.verdict(same) == "No variant changes anything: there is nothing to compare."


def test_a_long_table_is_shortened_on_a_terminal_and_nowhere_else(detector: Results) -> None:
    shown = text.terminal(detector, "some/where")
    names = [line.name for line in detector.lines]
    assert len(names) > 40
    there = [name for name in names if re.search(rf"^{re.escape(name)} ", shown, re.MULTILINE)]
    steps = {step.variant for step in (*detector.steps, *detector.paper_steps)}
    assert there == [name for name in names if "+" not in name or name in steps]
    assert f"See some/where/results.csv for {len(names) - len(there)} more compositions." in shown
    assert all(f"| `{name}` |" in text.markdown(detector) for name in names)


def test_the_csv_has_the_stages_of_the_model_last(detector: Results) -> None:
    rows = list(csv.DictReader(io.StringIO(text.timm_csv(detector))))
    assert list(rows[0])[-5:] == ["mean_residual", "pool", "upsample", "precision", "boxes"]
    stages = {name: mine["stages"] for name, mine in as_json(detector)["variants"].items()}
    for found in rows:
        mine = stages[found["variant"]]
        assert {stage: found[stage] for stage in ("pool", "upsample", "precision", "boxes")}.items() <= mine.items()


def test_markdown_is_escaped() -> None:
    """No name of a model and no reason ends a cell or starts markup."""
    results = made(
        "top1", {"ffmpeg": 0.01}, model="a|b <i>*net*</i> `x`", reasons={"fp16": "it is <b>|NaN|</b> in a_b_c"}
    )
    lines = text.markdown(results).splitlines()
    widths = {len(re.split(r"(?<!\\)\|", line)) for line in lines[:3]}
    assert len(widths) == 1
    assert r"| a\|b \<i\>\*net\*\</i\> \`x\` |" in lines[2]
    assert r"- fp16: it is \<b\>\|NaN\|\</b\> in a\_b\_c" in lines


@pytest.mark.parametrize(
    ("others", "alike", "said"),
    [
        ((), (), ""),
        (("a",), (), "less than a by more than chance"),
        (("a", "b"), (), "less than all 2 others by more than chance"),
        (("a", "b"), ("a", "b"), "not distinguishable from a, b"),
        (("a", "b"), ("b",), "not distinguishable from b; less than the other by more than chance"),
        (("a", "b", "c"), ("b",), "not distinguishable from b; less than the other 2 by more than chance"),
    ],
)
def test_advice_claims_no_more_than_the_tests_do(others: tuple[str, ...], alike: tuple[str, ...], said: str) -> None:
    assert words.compared(Advice("OpenCV", "resize", "opencv_area", 0.1, others, alike)) == said


def test_a_library_has_one_line_of_advice(detector: Results) -> None:
    shown = text.terminal(detector, "report")
    best = {(one["library"], one["stage"]): one for one in as_json(detector)["advice"]}
    assert shown.count("\nWith ") == len({library for library, _ in best})
    resize = best["OpenCV", "resize"]
    (line,) = (line for line in shown.splitlines() if line.startswith("With only OpenCV, "))
    assert f"resize {resize['method']} {resize['delta']:.2f}" in line
    assert "resize pil_bilinear (the reference's own)" in shown
