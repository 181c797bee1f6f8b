"""`score.py text`, from parsed options to a finished report.

Bad input is refused before a model runs if possible, and the report is written last.
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
from pipelines.evaluate.text.results import PERPLEXITY, REFERENCE, Results, TaskAnswers, compare
from pipelines.evaluate.text.results_json import as_json
from pipelines.evaluate.text.terminal import terminal
from pipelines.evaluate.text.tokens import read_tokens
from pipelines.options import cpus
from pipelines.progress import say
from pipelines.store import path_of
from pipelines.store.files import replacing
from pipelines.text import number_of

_TOKENIZER, _PAGE = "tokenizer.json", "report.html"


class _Scored(NamedTuple):
    """The answers by variant and task, the digests of the models, and why other variants have no answers."""

    answers: dict[str, dict[str, Answers]]
    digests: dict[str, str]
    reasons: dict[str, str]


def text(options: TextOptions) -> int:
    """Ask a model and its noised copies the questions of each task and write the report; returns exit status 0."""
    output = path_of(options.output, "--output")
    try:
        results = _results(options, output)
    except KeyboardInterrupt:
        raise RunError("stopped: finished parts are kept, and the same command continues") from None
    _write(output, results)
    print(terminal(results, str(output / _PAGE)))
    return 0


def _results(options: TextOptions, output: Path) -> Results:
    methods, named = asked_noise(options.variants)
    source = _source(options)
    tokenizer = _tokenizer(options, source)
    asked = list(_questions(options))
    tokens = read_tokens(tokenizer, options.bos)
    say(tokens.described)
    model = exported(source, output / "models") if source.is_dir() else source
    _check_applies(model, [method for method in methods if method.token in named])
    longest = longest_of(source / model.name if source.is_dir() else model, tokens)
    count = options.calibration or TEXT_CALIBRATION

    def texts() -> Images:
        return calibration(asked, tokens, longest, CausalModel(model), count)

    models = NoisedModels(model, output / "models" / model.stem, texts)
    asking = Asking(tokens, options.workers or cpus(), options.batch, longest=longest)
    scored = _scored(asked, models, methods, asking, output / "answers")
    answers = [TaskAnswers(own, {name: each[own.task] for name, each in scored.answers.items()}) for own in asked]
    bootstrap = _bootstrap(options, [name for one in asked for name in one.metrics], len(scored.answers) - 1)
    calibrated = [method.token for method in methods if method.calibrated and method.token in scored.answers]
    return replace(
        compare(_name(options, source), answers, bootstrap),
        not_applicable=scored.reasons,
        notes=list(_notes(answers, count, calibrated)),
        made_by={**scored.digests, "tokenizer, sha256": tokens.sha256, "tokens": tokens.described, **versions()},
    )


def _source(options: TextOptions) -> Path:
    """The model's file, or the transformers folder that it is exported from."""
    if options.model.startswith(HF):
        return folder_of(options.model)
    model = path_of(options.model, "--model")
    if not model.is_file():
        hint = f"give a transformers folder as {HF}{model}" if model.is_dir() else f"give an ONNX file or {HF}FOLDER"
        raise UsageError(f"--model {model} is not a file: {hint}")
    return model


def _tokenizer(options: TextOptions, source: Path) -> Path:
    """The tokenizer's file: the given one, or the one next to the model."""
    if options.tokenizer is not None:
        return options.tokenizer
    found = (source if source.is_dir() else source.parent) / _TOKENIZER
    if not found.is_file():
        raise UsageError(f"{found} does not exist: give --tokenizer FILE, the one that the model was trained with")
    say(f"using the tokenizer {found}")
    return found


def _questions(options: TextOptions) -> Iterator[Questions]:
    twice = next((task for task in options.tasks if options.tasks.count(task) > 1), None)
    if twice is not None:
        raise UsageError(f"--task {twice} is given twice: score one file of it at a time")
    for task, data in zip(options.tasks, options.data, strict=True):
        found = read_questions(task, data)
        if options.limit is not None and options.limit > len(found.asked):
            say(f"{data} has only {number_of(len(found.asked), 'question')}, fewer than --limit {options.limit}")
        yield found.first(options.limit)


def _name(options: TextOptions, source: Path) -> str:
    own = source.resolve()
    return " ".join((options.name or (own.name if source.is_dir() else own.stem)).split())


def _check_applies(model: Path, methods: Sequence[Method]) -> None:
    """Raises UsageError for the first method that does not apply to the model."""
    for method in methods:
        try:
            nodes_changed(model, (method,))
        except DoesNotApplyError as error:
            raise UsageError(f"{method.token} does not apply to {model.name}: {error}") from None


def _scored(
    asked: Sequence[Questions], models: NoisedModels, methods: Sequence[Method], asking: Asking, folder: Path
) -> _Scored:
    """Ask the model, and then each noised copy, which is made if it does not exist."""

    def ask(name: str, copy: Noised) -> None:
        alike = replace(asking, config=copy.config)
        answers = {one.task: answer(one, copy.path, alike, folder / name / f"{one.task}.json") for one in asked}
        found.answers[name], found.digests[f"{name}, sha256"] = answers, copy.sha256

    found = _Scored({}, {}, {})
    ask(REFERENCE, models.as_it_is)
    for method in methods:
        try:
            ask(method.token, models.noised((method,)))
        except (DoesNotApplyError, UsageError) as error:  # UsageError: noise has broken the model
            found.reasons[method.token] = str(error)
            say(f"not scored: {method.token}: {error}")
    return found


def _bootstrap(options: TextOptions, figures: Sequence[str], variants: int) -> Bootstrap:
    """How perplexities are resampled if these figures of all variants are compared."""
    comparisons = len(figures) * variants
    resamples = options.resamples or enough_resamples(comparisons)
    if PERPLEXITY in figures and not are_enough(resamples, comparisons):
        say(
            f"{number_of(resamples, 'resample')}: too few for any perplexity to differ by more than chance in "
            f"{number_of(comparisons, 'test')}"
        )
    return Bootstrap(resamples, options.seed)


def _notes(asked: Sequence[TaskAnswers], count: int, calibrated: Sequence[str]) -> Iterator[str]:
    if calibrated:
        count = min(count, sum(len(one.questions.asked) for one in asked))
        yield f"{' and '.join(calibrated)} were calibrated on {count:,} of these same texts."
    for questions, answers in asked:
        if left_out := len(questions.asked) - len(answers[REFERENCE].keys):
            yield (
                f"{questions.task}: left out {number_of(left_out, 'question')} with an answer longer than the model "
                "takes."
            )
        if cut := answers[REFERENCE].cut:
            yield f"{questions.task}: truncated the start of {number_of(cut, 'text')} longer than the model takes."


def _write(output: Path, results: Results) -> None:
    """Write the report's files, once all of them are made."""
    from pipelines.evaluate.text.page import page  # imports matplotlib, for which a refusal need not wait

    files = {
        _PAGE: page(results),
        "results.json": json.dumps(as_json(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, content in files.items():
        with replacing(output / name) as path:
            path.write_text(content, encoding="utf-8")
