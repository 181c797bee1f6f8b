"""Text that all forms of the report share: formatted figures, and the sentences about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Protocol

from generators.geometry import CROPPED
from pipelines.evaluate.advice import Advice
from pipelines.evaluate.results import Line, Results
from pipelines.evaluate.steps import Step
from pipelines.generate.config import size_from_json
from pipelines.style.stages import COMBINED
from pipelines.text import number_of

# Display names of figures, by their names in results.json.
METRICS = {"top1": "top-1", "top5": "top-5", "map": "mAP", "miou": "mIoU"}
IN_PAPER_ORDER, WORST_FIRST = "In the paper's order", "Worst first"
IN_BOTH_ORDERS = "In the paper's order, which is also worst first"
ADVICE = (
    "For each library and stage, the method that costs least on its own, with its Δ in points. A library's methods for "
    "a stage are compared pair by pair on the same images, at 5% corrected for their number."
)


class Compared(Protocol):
    """A difference from a reference as it is shown, whatever was scored; `delta` and `ci95` have the same unit."""

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
    """The metric's display name: `top-1`, or `mask mAP` if masks are scored."""
    return metrics(results)[results.metric]


def metrics(results: Results) -> dict[str, str]:
    """Display names of figures, by their names in results.json."""
    return {**METRICS, "map": "mask mAP"} if results.iou_type == "segm" else METRICS


def number(value: float, digits: int = 2) -> str:
    """A figure with a true minus sign, and none before zero."""
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"+{number(value)}" if float(f"{value:.2f}") > 0 else number(value)


def interval(line: Compared) -> str:
    """A 95% interval: `0.54 to 9.65`."""
    return f"{number(line.ci95[0])} to {number(line.ci95[1])}"


def p_value(p: float) -> str:
    """A p-value to three digits, or `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def p_equals(p: float) -> str:
    """A p-value in a sentence: `= 0.020` or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def note(line: Line) -> str:
    """A remark on a line, in a word or two."""
    if line.degenerate:
        return "same pixels"
    if line.unchanged:
        return "changed nothing"
    return "significant" if line.significant else ""


def subject(results: Results) -> str:
    """What was scored on what: `squeezenet on imagenet, 300 images, squash 227`, or `crop 224 of 235`."""
    geometry = results.shards.reference.summary["geometry"]
    sides = (" of " if geometry["name"] in CROPPED else "x").join(map(str, size_from_json(geometry["size"])))
    count = number_of(len(results.keys), "image")
    return f"{results.model} on {results.shards.dataset}, {count}, {geometry['name']} {sides}".strip()


def verdict(results: Results) -> str:
    """The main findings: the worst single mismatch, and the cost of everything combined."""
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
        f"The worst mismatch, {worst.name}, costs {number(worst.delta)} points of {what} (unadjusted 95% interval "
        f"{interval(worst)}; p {p_equals(worst.p)}; corrected for the table, p {p_equals(worst.p_holm)})."
    )


def _significant(results: Results, tested: Sequence[Line]) -> Iterator[str]:
    found = sum(line.significant for line in tested)
    if found:
        count = "1 variant differs" if found == 1 else f"{found} variants differ"
        yield f"{count} from the reference by more than chance."
    elif any(line.delta > 0 for line in tested):
        yield f"None of the differences is more than chance on these {len(results.keys):,} images."


def _together(results: Results) -> Iterator[str]:
    """The cost of the combination, unless it is a single method, which the first sentence covers."""
    line = results.combined
    if line is None or line.stage != COMBINED:
        return
    figures = f"(95% interval {interval(line)}; p {p_equals(line.p)}; corrected, p {p_equals(line.p_holm)})"
    if line.delta > 0:
        yield f"Everything combined, {line.name}, costs {number(line.delta)} points {figures}."
    else:
        yield f"Everything combined, {line.name}, costs nothing here: Δ {number(line.delta)} {figures}."


def chosen(results: Results) -> str:
    """How choosing the combined methods biases the figures; empty if nothing is combined.

    On average, the maximum of noisy estimates exceeds the largest of the true values.
    """
    line = results.combined
    if line is None or line.stage != COMBINED:
        return ""
    except_int8 = ", except int8," if line.stages["precision"] == "int8" else ""
    return (
        f"The combined methods{except_int8} were chosen because each costs most of its stage on these same images. "
        "What costs most here does so partly by chance: a stage's maximum and the combined figure tend to be larger "
        "than what the same methods cost on other images, and the intervals do not allow for the choice."
    )


def chains(results: Results) -> list[tuple[str, Sequence[Step]]]:
    """The two orders in which stages were added, each with its title; only one if they are the same."""
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
    """The variants that the steps lack."""
    count = len(results.missing)
    variants = f"of {count} more variants" if count > 1 else "of one more variant"
    return f"The next steps need predictions {variants}: {', '.join(results.missing)}."


def by_class(results: Results) -> Iterator[tuple[str, str, str, str]]:
    """For a metric that is a mean over classes: each class, its figure, the largest loss and that variant."""
    for name, figure in results.reference.by_class.items():
        deltas = {line.name: figure - line.by_class[name] for line in results.lines if name in line.by_class}
        worst = max(deltas, key=deltas.__getitem__, default="")
        lost = signed(deltas[worst]) if worst and deltas[worst] > 0 else "–"
        yield name, number(figure), lost, worst if lost != "–" else ""


def not_applicable(results: Results) -> list[tuple[str, str]]:
    """The variants without a score, grouped by reason: their names, and the reason."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, reason in results.not_applicable.items():
        found[reason].append(name)
    return [(", ".join(names), reason) for reason, names in found.items()]


def left_out(results: Results) -> str:
    """How many samples were left out, and why; empty if none were."""
    count = number_of(results.left_out, "sample")
    return f"Left out: {count} without ground truth, or that failed in some variant." if results.left_out else ""


def remarks(results: Results) -> Iterator[str]:
    """Lines about samples that were left out and variants that are alike."""
    if found := left_out(results):
        yield found
    for names in results.alike:
        yield f"Same pixels on every image (degenerate): {', '.join(names)}."
    yield from results.notes


def advice(results: Results) -> dict[str, list[Advice]]:
    """The advice for each library: the cheapest method of each stage."""
    found: dict[str, list[Advice]] = defaultdict(list)
    for one in results.advice:
        found[one.library].append(one)
    return found


def is_reference(results: Results, one: Advice) -> bool:
    """Whether the method is the reference's own, which costs nothing by definition."""
    return results.reference.stages[one.stage] == one.method


def compared(one: Advice) -> str:
    """Whether a method beats the library's others by more than chance; empty if it has no others."""
    if not one.others:
        return ""
    better = len(one.others) - len(one.alike)
    if not one.alike:
        others = one.others[0] if better == 1 else f"all {better} others"
        return f"less than {others} by more than chance"
    rest = "the other" if better == 1 else f"the other {better}"
    alike = f"not distinguishable from {', '.join(one.alike)}"
    return f"{alike}; less than {rest} by more than chance" if better else alike
