"""A whole run on text, from options to a finished report: what `score.py text` does once its arguments are read.

What can be refused is refused before a model runs, and no report is written before all is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from generators.registry import Method
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.model.cells import Noised
from pipelines.evaluate.model.noised import DoesNotApplyError, Images, NoisedModels, nodes_changed
from pipelines.evaluate.options import TEXT_CALIBRATION, TextOptions
from pipelines.evaluate.statistics import Bootstrap, are_enough, enough_resamples
from pipelines.evaluate.text.answering import Asking, answer
from pipelines.evaluate.text.answers import Answers
from pipelines.evaluate.text.asked import asked_noise
from pipelines.evaluate.text.calibration import calibration
from pipelines.evaluate.text.causal import CausalModel, versions
from pipelines.evaluate.text.data import read_questions
from pipelines.evaluate.text.exported import HF, exported, folder_of
from pipelines.evaluate.text.longest import longest_of
from pipelines.evaluate.text.question import Questions
from pipelines.evaluate.text.results import PERPLEXITY, REFERENCE, Asked, Results, as_json, compare
from pipelines.evaluate.text.terminal import terminal
from pipelines.evaluate.text.tokens import read_tokens
from pipelines.options import cpus
from pipelines.progress import say
from pipelines.store import path_of
from pipelines.store.files import replacing

_TOKENIZER, _PAGE = "tokenizer.json", "report.html"


class _Scored(NamedTuple):
    """What was answered, by variant and task, by which models, and why other variants have no answers."""

    answers: dict[str, dict[str, Answers]]
    digests: dict[str, str]
    reasons: dict[str, str]


def text(options: TextOptions) -> int:
    """Ask a model and its noised copies the questions of each task, and write the report; the exit status, 0."""
    output = path_of(options.output, "--output")
    try:
        results = _results(options, output)
    except KeyboardInterrupt:
        raise RunError("stopped: what is whole is kept, and the same command continues") from None
    _write(output, results)
    print(terminal(results, str(output / _PAGE)))
    return 0


def _results(options: TextOptions, output: Path) -> Results:
    methods, named = asked_noise(options.variants)
    source = _source(options)
    tokenizer = _tokenizer(options, source)
    asked = list(_questions(options))
    tokens = read_tokens(tokenizer, options.bos)
    say(tokens.said)
    model = exported(source, output / "models") if source.is_dir() else source
    _check_applies(model, [method for method in methods if method.token in named])
    longest = longest_of(source / model.name if source.is_dir() else model, tokens)
    count = options.calibration or TEXT_CALIBRATION

    def texts() -> Images:
        return calibration(asked, tokens, longest, CausalModel(model), count)

    models = NoisedModels(model, output / "models" / model.stem, texts)
    asking = Asking(tokens, options.workers or cpus(), options.batch, longest=longest)
    scored = _scored(asked, models, methods, asking, output / "answers")
    answers = [Asked(own, {name: each[own.task] for name, each in scored.answers.items()}) for own in asked]
    bootstrap = _bootstrap(options, [name for one in asked for name in one.metrics], len(scored.answers) - 1)
    calibrated = [method.token for method in methods if method.calibrated and method.token in scored.answers]
    return replace(
        compare(_name(options, source), answers, bootstrap),
        not_applicable=scored.reasons,
        notes=list(_notes(answers, count, calibrated)),
        made_by={**scored.digests, "tokenizer, sha256": tokens.sha256, "tokens": tokens.said, **versions()},
    )


def _source(options: TextOptions) -> Path:
    """The model's file, or the folder of transformers that it is exported from."""
    if options.model.startswith(HF):
        return folder_of(options.model)
    model = path_of(options.model, "--model")
    if not model.is_file():
        hint = f"a folder of transformers is {HF}{model}" if model.is_dir() else f"give an ONNX file or {HF}FOLDER"
        raise UsageError(f"--model {model} is no file: {hint}")
    return model


def _tokenizer(options: TextOptions, source: Path) -> Path:
    """The tokenizer's file: the one that is given, or that beside the model."""
    if options.tokenizer is not None:
        return options.tokenizer
    found = (source if source.is_dir() else source.parent) / _TOKENIZER
    if not found.is_file():
        raise UsageError(f"there is no {found}: give --tokenizer FILE, that which the model was trained with")
    say(f"the tokenizer is {found}")
    return found


def _questions(options: TextOptions) -> Iterator[Questions]:
    twice = next((task for task in options.tasks if options.tasks.count(task) > 1), None)
    if twice is not None:
        raise UsageError(f"--task {twice} is given twice: score one file of it at a time")
    for task, data in zip(options.tasks, options.data, strict=True):
        found = read_questions(task, data)
        if options.limit is not None and options.limit > len(found.asked):
            say(f"{data} has {len(found.asked):,} questions, fewer than --limit {options.limit}")
        yield found.first(options.limit)


def _name(options: TextOptions, source: Path) -> str:
    own = source.resolve()
    return " ".join((options.name or (own.name if source.is_dir() else own.stem)).split())


def _check_applies(model: Path, methods: Sequence[Method]) -> None:
    """Raises UsageError for the first of the methods that does not apply to a model."""
    for method in methods:
        try:
            nodes_changed(model, (method,))
        except DoesNotApplyError as error:
            raise UsageError(f"{method.token} does not apply to {model.name}: {error}") from None


def _scored(
    asked: Sequence[Questions], models: NoisedModels, methods: Sequence[Method], asking: Asking, folder: Path
) -> _Scored:
    """What the model answers, and then, one after the other, its noised copies, which are made where they lack."""

    def ask(name: str, copy: Noised) -> None:
        alike = replace(asking, config=copy.config)
        answers = {one.task: answer(one, copy.path, alike, folder / name / f"{one.task}.json") for one in asked}
        found.answers[name], found.digests[f"{name}, sha256"] = answers, copy.sha256

    found = _Scored({}, {}, {})
    ask(REFERENCE, models.as_it_is)
    for method in methods:
        try:
            ask(method.token, models.noised((method,)))
        except (DoesNotApplyError, UsageError) as error:  # of a model that the noise has broken
            found.reasons[method.token] = str(error)
            say(f"not scored: {method.token}: {error}")
    return found


def _bootstrap(options: TextOptions, figures: Sequence[str], variants: int) -> Bootstrap:
    """How perplexities are resampled, where these figures of so many variants are compared."""
    comparisons = len(figures) * variants
    resamples = options.resamples or enough_resamples(comparisons)
    if PERPLEXITY in figures and not are_enough(resamples, comparisons):
        say(
            f"{resamples:,} resamples are too few for perplexities to differ by more than chance in {comparisons} tests"
        )
    return Bootstrap(resamples, options.seed)


def _notes(asked: Sequence[Asked], count: int, calibrated: Sequence[str]) -> Iterator[str]:
    if calibrated:
        count = min(count, sum(len(one.questions.asked) for one in asked))
        yield f"The ranges of {' and '.join(calibrated)} are of {count:,} of these same texts."
    for questions, answers in asked:
        if left_out := len(questions.asked) - len(answers[REFERENCE].keys):
            yield f"{questions.task}: {left_out:,} questions with an answer longer than the model takes are left out."
        if cut := answers[REFERENCE].cut:
            yield f"{questions.task}: {cut:,} texts are longer than what the model takes, and lose their beginning."


def _write(output: Path, results: Results) -> None:
    """Put the report's files in place, when all of them are made."""
    from pipelines.evaluate.text.page import page  # imports what draws, which a refusal need not wait for

    files = {
        _PAGE: page(results),
        "results.json": json.dumps(as_json(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, content in files.items():
        with replacing(output / name) as path:
            path.write_text(content, encoding="utf-8")
