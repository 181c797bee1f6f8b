"""A whole run on text, from options to a finished report: what `score.py text` does once its arguments are read.

What can be refused is refused before a model runs, and no report is written before all is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from generators.registry import Method
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.model.noised import DoesNotApplyError, Images, NoisedModels, session_config
from pipelines.evaluate.model.weights import model_sha256
from pipelines.evaluate.options import TEXT_CALIBRATION, TextOptions
from pipelines.evaluate.statistics import Bootstrap, enough_resamples
from pipelines.evaluate.text.answering import Asking, answer
from pipelines.evaluate.text.answers import Answers
from pipelines.evaluate.text.asked import asked_noise
from pipelines.evaluate.text.causal import versions
from pipelines.evaluate.text.data import read_questions
from pipelines.evaluate.text.exported import HF, exported
from pipelines.evaluate.text.question import Questions
from pipelines.evaluate.text.results import REFERENCE, Asked, Results, as_json, compare
from pipelines.evaluate.text.terminal import terminal
from pipelines.evaluate.text.tokens import Tokens, read_tokens
from pipelines.files import replacing
from pipelines.options import cpus
from pipelines.progress import say
from pipelines.store import path_of

_TOKENIZER, _PAGE = "tokenizer.json", "index.html"


class _Copy(NamedTuple):
    """A model's file, as it is or with noise, and what ONNX Runtime must be told to run it."""

    path: Path
    config: Mapping[str, str]


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
    tokenizer = _tokenizer(options)
    asked = list(_questions(options))
    tokens = read_tokens(tokenizer, options.bos)
    say(tokens.said)
    model = _model(options, output)
    copies, refused = _copies(model, methods, output)
    for token, reason in refused.items():
        if token in named:
            raise UsageError(f"{token} does not apply to {model.name}: {reason}")
        say(f"does not apply: {token}: {reason}")
    answers, failed = _answers(asked, copies, tokens, options, output)
    comparisons = len(asked) * max(1, len(copies) - 1)
    bootstrap = Bootstrap(options.resamples or enough_resamples(comparisons), options.seed)
    results = compare(_name(options), answers, bootstrap)
    return replace(
        results,
        not_applicable={**refused, **failed},
        notes=list(_notes(answers)),
        made_by=_made_by(copies, tokens),
    )


def _tokenizer(options: TextOptions) -> Path:
    """The tokenizer's file: the one that is given, or that beside the model."""
    if options.tokenizer is not None:
        return options.tokenizer
    folder = Path(options.model.removeprefix(HF)) if options.model.startswith(HF) else Path(options.model).parent
    found = folder / _TOKENIZER
    if not found.is_file():
        raise UsageError(
            f"there is no {found}: give --tokenizer FILE, the {_TOKENIZER} that the model was trained with"
        )
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


def _model(options: TextOptions, output: Path) -> Path:
    """The model's file, which a folder of transformers is exported to."""
    if options.model.startswith(HF):
        return exported(Path(options.model.removeprefix(HF)), output / "models")
    model = path_of(options.model, "--model")
    if not model.is_file():
        hint = (
            f"a folder of transformers is given as {HF}{model}"
            if model.is_dir()
            else f"give an ONNX file or {HF}FOLDER"
        )
        raise UsageError(f"--model {model} is no file: {hint}")
    return model


def _name(options: TextOptions) -> str:
    own = Path(options.model.removeprefix(HF)).resolve()
    return " ".join((options.name or (own.name if options.model.startswith(HF) else own.stem)).split())


def _copies(model: Path, methods: Sequence[Method], output: Path) -> tuple[dict[str, _Copy], dict[str, str]]:
    """The model as it is and with each noise, by name, made where they are not there; and why there is none of some."""
    models = NoisedModels(model, output / "models" / model.stem, _images)
    found, refused = {REFERENCE: _Copy(model, {})}, dict[str, str]()
    for method in methods:
        try:
            found[method.token] = _Copy(models.noised((method,)).path, session_config((method,)))
        except DoesNotApplyError as error:
            refused[method.token] = str(error)
    return found, refused


def _images() -> Images:
    raise NotImplementedError


def _answers(
    asked: Sequence[Questions], copies: Mapping[str, _Copy], tokens: Tokens, options: TextOptions, output: Path
) -> tuple[list[Asked], dict[str, str]]:
    """What each copy answers to the questions of each task, and why some answer nothing that can be compared."""
    found = {questions.task: dict[str, Answers]() for questions in asked}
    failed: dict[str, str] = {}
    for name, copy in copies.items():
        asking = Asking(tokens, options.workers or cpus(), options.batch, copy.config)
        try:
            own = {
                questions.task: answer(
                    questions, copy.path, asking, output / "answers" / name / f"{questions.task}.json"
                )
                for questions in asked
            }
        except UsageError as error:
            if name == REFERENCE:
                raise
            failed[name] = str(error)
            say(f"not scored: {name}: {error}")
            continue
        for task, answers in own.items():
            found[task][name] = answers
    return [Asked(questions, found[questions.task]) for questions in asked], failed


def _notes(asked: Sequence[Asked]) -> Iterator[str]:
    for questions, answers in asked:
        if cut := answers[REFERENCE].cut:
            yield f"{questions.task}: {cut:,} texts are longer than what the model takes, and lose their beginning."


def _made_by(copies: Mapping[str, _Copy], tokens: Tokens) -> dict[str, str]:
    digests = {f"{name}, sha256": model_sha256(copy.path) for name, copy in copies.items()}
    return {**digests, "tokenizer, sha256": tokens.sha256, "tokens": tokens.said, **versions()}


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
