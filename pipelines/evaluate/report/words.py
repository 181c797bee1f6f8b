"""What all forms of the report say alike: figures as text, and the sentences about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Protocol

from generators.geometry import CROPPED
from pipelines.evaluate.advice import Advice
from pipelines.evaluate.results import COMBINED, Line, Results
from pipelines.evaluate.steps import Step
from pipelines.generate.config import size_from_json

# What a figure is called, by the name that it has in results.json.
METRICS = {"top1": "top-1", "top5": "top-5", "map": "mAP", "miou": "mIoU"}
IN_PAPER_ORDER, WORST_FIRST = "In the paper's order", "Worst first"
IN_BOTH_ORDERS = "In the paper's order, which is also the order of what hurts most"
ADVICE = (
    "For each library, the method of each stage that costs least, with its Δ in points, each alone. A library's "
    "methods of a stage are compared pair by pair on the same images, at 5% corrected for their number."
)


class Compared(Protocol):
    """What is shown of any difference from a reference, whatever was scored: `delta` and `ci95` in one unit."""

    @property
    def name(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def delta(self) -> float: ...
    @property
    def ci95(self) -> tuple[float, float]: ...
    @property
    def p_holm(self) -> float: ...
    @property
    def significant(self) -> bool: ...


def metric(results: Results) -> str:
    """What the metric is called: `top-1`, or `mask mAP` where masks are scored."""
    return metrics(results)[results.metric]


def metrics(results: Results) -> dict[str, str]:
    """What figures are called, by their names."""
    return {**METRICS, "map": "mask mAP"} if results.iou_type == "segm" else METRICS


def number(value: float, digits: int = 2) -> str:
    """A figure with a true minus sign, and no minus before zero."""
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"+{number(value)}" if float(f"{value:.2f}") > 0 else number(value)


def interval(line: Compared) -> str:
    """A 95% interval: `0.54 to 9.65`."""
    return f"{number(line.ci95[0])} to {number(line.ci95[1])}"


def p_value(p: float) -> str:
    """A p-value to three digits: below 0.001 the figure itself says nothing more."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def p_equals(p: float) -> str:
    """A p-value in a sentence: `= 0.020` or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def note(line: Line) -> str:
    """What to know of a line, in a word or two."""
    if line.degenerate:
        return "same pixels"
    if line.unchanged:
        return "changed nothing"
    return "significant" if line.significant else ""


def subject(results: Results) -> str:
    """What was scored on what: `squeezenet on imagenet, 300 images, squash 227`, or `crop 224 of 235`."""
    geometry = results.shards.reference.summary["geometry"]
    sides = (" of " if geometry["name"] in CROPPED else "x").join(map(str, size_from_json(geometry["size"])))
    return (
        f"{results.model} on {results.shards.dataset}, {len(results.keys):,} images, {geometry['name']} {sides}".strip()
    )


def verdict(results: Results) -> str:
    """The main findings: the worst single mismatch, and what all of it combined costs."""
    tested = [line for line in results.lines if not line.same]
    if not tested:
        return "No variant changes anything: there is nothing to compare."
    return " ".join([_worst(results, tested), *_significant(results, tested), *_together(results)])


def _worst(results: Results, tested: Sequence[Line]) -> str:
    single = [line for line in tested if line.stage != COMBINED] or tested
    worst = max(single, key=lambda line: line.delta)
    what = metric(results)
    if worst.delta <= 0:
        alone = "" if single == tested else " alone"
        return (
            f"No variant{alone} lowers {what} below the reference's "
            f"{number(results.reference.figures[results.metric])}."
        )
    return (
        f"The worst mismatch, {worst.name}, costs {number(worst.delta)} points of {what} (95% interval for it alone "
        f"{interval(worst)}; p {p_equals(worst.p)}; corrected for the table, p {p_equals(worst.p_holm)})."
    )


def _significant(results: Results, tested: Sequence[Line]) -> Iterator[str]:
    found = sum(line.significant for line in tested)
    if found:
        count = "1 variant differs" if found == 1 else f"{found} variants differ"
        yield f"{count} from the reference by more than chance."
    elif any(line.delta > 0 for line in tested):
        yield f"None of the differences can be told from chance on these {len(results.keys):,} images."


def _together(results: Results) -> Iterator[str]:
    """What the combination costs; nothing where it is a single method, which has been said."""
    line = results.combined
    if line is None or line.stage != COMBINED:
        return
    figures = f"(95% interval {interval(line)}; p {p_equals(line.p)}; corrected, p {p_equals(line.p_holm)})"
    if line.delta > 0:
        yield f"All of it combined, {line.name}, costs {number(line.delta)} points {figures}."
    else:
        yield f"All of it combined, {line.name}, costs nothing here: Δ {number(line.delta)} {figures}."


def chosen(results: Results) -> str:
    """How the choice of what is combined bears on the figures; empty where nothing is.

    The maximum of noisy figures is larger, on average, than the largest of what they estimate.
    """
    line = results.combined
    if line is None or line.stage != COMBINED:
        return ""
    apart = ", int8 apart," if line.stages["precision"] == "int8" else ""
    return (
        f"The methods that are combined{apart} were chosen because each costs most of its stage on these same images. "
        "What costs most here does so in part by chance: a stage's maximum and the combined figure tend to be larger "
        "than what the same methods cost on other images, and the intervals do not allow for the choice."
    )


def chains(results: Results) -> list[tuple[str, Sequence[Step]]]:
    """The two orders in which stages were added, each with what it is called; one where they are the same."""
    if results.paper_steps and list(results.paper_steps) == list(results.steps):
        return [(IN_BOTH_ORDERS, results.steps)]
    both = ((IN_PAPER_ORDER, results.paper_steps), (WORST_FIRST, results.steps))
    return [(title, steps) for title, steps in both if steps]


def chain(results: Results, title: str, steps: Sequence[Step]) -> str:
    """One order in a line: `Worst first: pil_bilinear 70.00 → + pil_nearest 66.00 → …`."""
    figures = [f"{results.reference.name} {number(results.reference.figures[results.metric])}"]
    figures += [f"+ {step.method} {number(results.line(step.variant).figures[results.metric])}" for step in steps]
    return f"{title}: {' → '.join(figures)}"


def wanting(results: Results) -> str:
    """Which variants the steps need."""
    count = len(results.missing)
    variants = f"of {count} more variants" if count > 1 else "of one more variant"
    return f"The next steps need predictions {variants}: {', '.join(results.missing)}."


def by_class(results: Results) -> Iterator[tuple[str, str, str, str]]:
    """Where the metric is a mean over classes: each class, its figure, the largest loss and whose it is."""
    for name, figure in results.reference.by_class.items():
        deltas = {line.name: figure - line.by_class[name] for line in results.lines if name in line.by_class}
        worst = max(deltas, key=deltas.__getitem__, default="")
        lost = signed(deltas[worst]) if worst and deltas[worst] > 0 else "–"
        yield name, number(figure), lost, worst if lost != "–" else ""


def not_applicable(results: Results) -> list[tuple[str, str]]:
    """The variants that have no score, joined where the reason is the same, and the reason."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, reason in results.not_applicable.items():
        found[reason].append(name)
    return [(", ".join(names), reason) for reason, names in found.items()]


def remarks(results: Results) -> Iterator[str]:
    """Lines about what was left out and what is alike."""
    if results.left_out:
        yield f"Left out: {results.left_out:,} samples that failed in some variant or have no ground truth."
    for names in results.alike:
        yield f"Same pixels on every image (degenerate): {', '.join(names)}."
    yield from results.notes


def advice(results: Results) -> dict[str, list[Advice]]:
    """What to do about it, by library: the method of each stage that costs least."""
    found: dict[str, list[Advice]] = defaultdict(list)
    for one in results.advice:
        found[one.library].append(one)
    return found


def is_reference(results: Results, one: Advice) -> bool:
    """Whether the method is the reference's own, which costs nothing by definition."""
    return results.reference.stages[one.stage] == one.method


def compared(one: Advice) -> str:
    """Whether a method is better than the library's others by more than chance; empty where it has no other."""
    if not one.others:
        return ""
    better = len(one.others) - len(one.alike)
    if not one.alike:
        others = one.others[0] if better == 1 else f"all {better} others"
        return f"less than {others} by more than chance"
    rest = "the other" if better == 1 else f"the other {better}"
    alike = f"cannot be told from {', '.join(one.alike)}"
    return f"{alike}; less than {rest} by more than chance" if better else alike
