"""The report on text: its figures compared with other implementations, and its page with its figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from pipelines.evaluate.statistics import Bootstrap
from pipelines.evaluate.text.page import page
from pipelines.evaluate.text.results import Results, TaskAnswers, compare
from pipelines.evaluate.text.results_json import as_json
from pipelines.evaluate.text.terminal import terminal
from tests.pipelines.evaluate.text.answered import Hits, answers, questions

Logs = NDArray[np.float64]

COUNT = 300
VARIANTS = {"fp16": 0.0, "int8": 0.3, "int8_tensor": 0.05}
SHARES = {"piqa": 0.8, "lambada": 0.4, "winogrande": 0.5}


def flipped(rng: np.random.Generator, hits: Hits, share: float) -> Hits:
    """These hits with a share turned wrong, and a tenth as many turned right."""
    draw = rng.random(len(hits))
    return np.where(draw < share, False, hits) | (draw > 1 - share / 10)


@pytest.fixture(scope="module")
def asked() -> list[TaskAnswers]:
    """Two choices with `acc_norm`, words to be predicted, and two choices at chance."""
    rng = np.random.default_rng(1)
    found = []
    for task, share in SHARES.items():
        greedy, normed = task == "lambada", task == "piqa"
        metrics = ("acc", *["perplexity"] * greedy, *["acc_norm"] * normed)
        own = questions(task, COUNT, 1 if greedy else 2, metrics)
        base = rng.random(COUNT) < share
        norm = rng.random(COUNT) < share if normed else None
        logs = rng.normal(-3, 1, COUNT)
        answered = {"fp32": answers(own, base, norm, logs)}
        for name, lost in VARIANTS.items():
            other = None if norm is None else flipped(rng, norm, lost)
            noise = rng.normal(-lost, 0.2, COUNT) if lost else 0.0
            answered[name] = answers(own, flipped(rng, base, lost), other, logs + noise)
        found.append(TaskAnswers(own, answered))
    return found


@pytest.fixture(scope="module")
def results(asked: list[TaskAnswers]) -> Results:
    found = compare("a <b> & net", asked, Bootstrap(2000, 0))
    return replace(found, not_applicable={"int8_dynamic": "it has <no> layer"}, made_by={"model": "0123"})


def test_differences_are_those_of_statsmodels_and_scipy(asked: list[TaskAnswers], results: Results) -> None:
    values = []
    for (_, answered), task in zip(asked, results.tasks, strict=True):
        for figure in task.figures:
            if figure.name == "perplexity":
                values += [line.p for line in figure.lines]
                continue
            hits = {name: getattr(own, figure.name) for name, own in answered.items()}
            theirs = hits["fp32"]
            proven = scipy.stats.binomtest(int(theirs.sum()), COUNT).proportion_ci(method="exact")
            assert figure.ci95 == pytest.approx((100 * proven.low, 100 * proven.high))
            assert figure.reference == pytest.approx(100 * theirs.mean())
            for line in figure.lines:
                own = hits[line.name]
                table = [[np.sum(theirs & own), np.sum(theirs & ~own)], [np.sum(~theirs & own), np.sum(~theirs & ~own)]]
                assert line.p == pytest.approx(mcnemar(table, exact=True).pvalue)
                assert (line.lost, line.gained) == (table[0][1], table[1][0])
                assert line.delta == pytest.approx(100 * (theirs.mean() - own.mean()))
                assert line.ci95[0] <= line.delta <= line.ci95[1]
                values.append(line.p)
    corrected = multipletests(values, method="holm")[1]
    lines = [line for task in results.tasks for figure in task.figures for line in figure.lines]
    assert [line.p_holm for line in lines] == pytest.approx(corrected)
    assert {line.name for line in lines if line.degenerate} == {"fp16"}
    assert any(line.significant for line in lines)


def test_perplexity_is_compared_on_the_same_questions(asked: list[TaskAnswers], results: Results) -> None:
    answered = asked[1].answers
    logs = {name: np.array(own.loglikelihoods)[:, 0] for name, own in answered.items()}
    figure = results.tasks[1].figures[1]
    assert figure.chance is None
    assert figure.reference == pytest.approx(np.exp(-logs["fp32"].mean()))

    def rise(own: Logs, theirs: Logs, axis: int = -1) -> Logs:
        return np.asarray(np.exp(-own.mean(axis=axis)) - np.exp(-theirs.mean(axis=axis)))

    for name in ("int8", "int8_tensor"):
        line = figure.line(name)
        assert line is not None
        pair = (logs[name], logs["fp32"])
        expected = scipy.stats.bootstrap(pair, rise, paired=True, method="percentile", rng=5, n_resamples=2000)
        interval = expected.confidence_interval
        assert line.delta == pytest.approx(float(rise(*pair)))
        assert line.ci95 == pytest.approx((interval.low, interval.high), rel=0.1)
        assert line.p < 0.05
        assert line.lost is None


def test_a_single_question_shows_nothing_beyond_chance() -> None:
    own = questions("lambada", 1, 1, ("acc", "perplexity"))
    hits = np.array([True])
    answered = {name: answers(own, hits, logs=np.array([log])) for name, log in (("fp32", -1.0), ("int8", -2.0))}
    (task,) = compare("net", [TaskAnswers(own, answered)], Bootstrap(99, 0)).tasks
    accuracy, perplexity = task.figures
    assert [line.p for line in (*accuracy.lines, *perplexity.lines)] == [1.0, 1.0]
    assert perplexity.lines[0].delta == pytest.approx(np.exp(2) - np.exp(1))


def test_figures_at_chance_level_are_reported(results: Results) -> None:
    winogrande = as_json(results)["tasks"]["winogrande"]
    assert (winogrande["chance"], winogrande["at_chance"]) == ({"acc": 50.0}, ["acc"])
    text = terminal(results, "out/report.html")
    assert re.search(r"at chance level, so differences mean nothing: winogrande acc \d+\.\d+ \(95% ", text)
    assert "piqa acc " not in text
    assert re.search(r"int8 on (piqa|lambada) costs most: \d", text)
    guessing = compare("net", [_winogrande(results)], Bootstrap(9, 0))
    assert "differences in accuracy mean nothing" in terminal(guessing, "")


def _winogrande(results: Results) -> TaskAnswers:
    """A task at chance, with one variant."""
    task = results.tasks[2]
    hits = np.arange(COUNT) % 2 == 0
    own = {
        name: answers(task.questions, hits, logs=np.full(COUNT, log)) for name, log in (("fp32", -1.0), ("int8", -2.0))
    }
    return TaskAnswers(task.questions, own)


class Cells(HTMLParser):
    """Collects table rows with their attributes, all text, and elements that would load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[dict[str, str | None], list[str]]] = []
        self.text = ""
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "tr":
            self.rows.append((found, []))
        if tag in ("td", "th"):
            self.rows[-1][1].append("")
        if tag in ("script", "img", "link", "iframe", "b", "i") and found.get("href") != "data:,":
            self.active.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1][1]:
            self.rows[-1][1][-1] += data


def test_the_page_has_the_figures_of_the_json(results: Results) -> None:
    html = page(results)
    cells = Cells()
    cells.feed(html)
    assert not cells.active
    found = json.loads(json.dumps(as_json(results), allow_nan=False))["tasks"]
    shown = 0
    for of, row in cells.rows:
        if of.get("data-variant") in VARIANTS:
            task, figure, variant = (str(of[f"data-{part}"]) for part in ("task", "figure", "variant"))
            own = found[task]["variants"][variant]
            compared = own if figure == "acc" else own[f"{figure}_compared"]
            numbers = [float(cell.replace("−", "-").replace("<", "")) for cell in (row[2], row[3], row[6])]
            assert numbers == pytest.approx([own[figure], compared["delta"], max(compared["p_holm"], 0.001)], abs=0.006)
            assert row[4].replace("−", "-") == " to ".join(f"{end:.2f}" for end in compared["ci95"]).replace(
                "-0.00", "0.00"
            )
            assert row[7] == str(compared.get("lost", "–"))
            shown += 1
    assert shown == len(VARIANTS) * 5
    row = next(row for of, row in cells.rows if of == {"data-task": "piqa"})
    assert float(row[1]) == pytest.approx(found["piqa"]["variants"]["fp32"]["acc"], abs=0.005)
    assert "int8_dynamic" not in row
    assert html.count("<svg") == 2


def test_the_page_shows_flipped_questions_whole(results: Results) -> None:
    cells = Cells()
    cells.feed(page(results))
    for task in results.tasks:
        worst = task.flips[0]
        question = task.questions.asked[int(worst.key)]
        assert f"{task.name} {worst.key}" in cells.text
        assert all(request.context in cells.text for request in question.requests)
        lost = [sum(flip.right["fp32"] and not right for right in flip.right.values()) for flip in task.flips]
        assert lost == sorted(lost, reverse=True)
        wrong = [(flip.key, name) for flip in task.flips for name, right in flip.right.items() if not right]
        assert len({key for key, _ in wrong}) == len(task.flips)


def test_a_report_without_variants_has_figures_and_no_differences(asked: list[TaskAnswers]) -> None:
    reference = [TaskAnswers(own.questions, {"fp32": own.answers["fp32"]}) for own in asked]
    alone = compare("net", reference, Bootstrap(9, 0))
    text = terminal(alone, "out/report.html")
    assert "Only fp32 was scored" in text
    assert re.search(r"^lambada: acc \d+\.\d\d \(95% .*\), perplexity \d+\.\d\d$", text, re.MULTILINE)
    assert "<svg" not in page(alone)


def test_answers_to_different_questions_are_not_compared(asked: list[TaskAnswers]) -> None:
    own, answered = asked[0]
    other = replace(answered["int8"], keys=answered["int8"].keys[::-1])
    with pytest.raises(ValueError, match="different questions"):
        compare("net", [TaskAnswers(own, {**answered, "int8": other})], Bootstrap(9, 0))
