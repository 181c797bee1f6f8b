"""`generate.py --model`: writes noised models, and the shards that the same variants ask for.

Models go to `OUT/models/<model>/`. int8 is calibrated on the reference's shards in OUT, which are made if they are
missing. If noise that the user named does not apply to the model, the run fails after everything else is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from generators.own import with_own
from generators.registry import METHODS, MODEL_STAGES, Method
from generators.selection import expand
from generators.variant import Variant, VariantError, is_group
from manifests.mels import SPOKEN
from manifests.schema import SUMMARY
from pipelines.datasets import DATASETS
from pipelines.errors import UsageError
from pipelines.evaluate.model.calibration import calibration
from pipelines.evaluate.model.geometry import wanted_geometry
from pipelines.evaluate.model.named import kept_or_not
from pipelines.evaluate.model.noised import DoesNotApplyError, Images, NoisedModels, nodes_changed
from pipelines.evaluate.model.preprocessing import read_preprocessing
from pipelines.evaluate.model.readers.boxes import refusal
from pipelines.generate.config import base_variant, methods_of
from pipelines.generate.options import Options
from pipelines.generate.run import make, output_place
from pipelines.generate.target import choose_geometry
from pipelines.options import is_named
from pipelines.progress import say
from pipelines.run import generate
from pipelines.shards import open_shards
from pipelines.text import number_of, table

# The folder of models in an output, beside those of the datasets.
MODELS = "models"

Methods = tuple[Method, ...]


def generate_models(options: Options) -> int:
    """Write noised models, and shards if any are asked for; returns the exit status (0, or 1 if samples failed)."""
    _check_places(options)
    with _model(options, kept=not options.dry_run) as model:
        return _generate(options, model)


def _generate(options: Options, model: Path) -> int:
    base, variants, named = _variants(options)
    noised = dict.fromkeys(variant.model for variant in variants if variant.model)
    for variant in variants:
        if variant.noise and not variant.model:
            say(f"{variant.name} is noise after the model, which score.py adds: no file is written for it")
    status = 0
    pixels = dict.fromkeys(variant.pixels for variant in variants if not variant.noise or variant.pixels != base.name)
    if pixels:
        status = generate(replace(options, variants=tuple(pixels)))
    models = NoisedModels(model, Path(options.output) / MODELS / model.stem, lambda: _images(options, model))
    if options.dry_run:
        print(f"\nWould write to {models.folder} (nothing was written):\n\n{_planned(model, noised)}")
        return status
    written, refused = _written(models, noised)
    if written:
        print(f"{models.folder}/\n\n{table([('variant', 'nodes', 'file'), *written], frozenset({1}))}")
    for methods, reason in refused.items():
        say(f"does not apply: {_name(methods)}: {reason}")
    for methods, reason in refused.items():
        if _name(methods) in named:
            raise UsageError(f"{_name(methods)} does not apply to {model.name}: {reason}")
    return status


def list_for(options: Options) -> str:
    """A table of all model methods: whether each applies to this model, and to how many nodes."""
    with _model(options, kept=False) as model:
        return _listed(model)


def _listed(model: Path) -> str:
    try:
        head = read_preprocessing(model, {}).head
    except UsageError:  # preprocessing need not be stated to list methods
        head = None
    rows: list[Sequence[str]] = [("token", "stage", "applies", "")]
    for method in METHODS.values():
        if method.stage not in MODEL_STAGES:
            continue
        try:
            if method.stage == "boxes":
                rows.append((method.token, method.stage, *_on_boxes(method, head)))
            else:
                rows.append((method.token, method.stage, "yes", _counted(method, nodes_changed(model, (method,)))))
        except DoesNotApplyError as error:
            rows.append((method.token, method.stage, "no", str(error)))
    return table(rows)


def _on_boxes(method: Method, head: str | None) -> tuple[str, str]:
    """Whether box noise applies, and why not; without a stated head, only the outputs show whether there are boxes."""
    if head is None:
        return "?", "no head is stated: it applies if score.py finds that the model is a detector"
    reason = refusal(head, method.load_noise()())
    return ("yes", "") if reason is None else ("no", reason)


def _counted(method: Method, operators: Sequence[str]) -> str:
    """How many nodes a method changes, and how many more change because of them."""
    own = [operator for operator in operators if method.stage != "pool" or operator.endswith("Pool")]
    nodes = number_of(len(own), "node")
    return nodes if len(own) == len(operators) else f"{nodes}, and {len(operators) - len(own)} that follow"


def _check_places(options: Options) -> None:
    """Raises UsageError if the model is missing or noised ones cannot be written."""
    if options.dataset in SPOKEN:
        raise UsageError("--model makes noised image models: leave it out, or --dataset speech")
    if not is_named(options.model) and not Path(options.model or "").is_file():
        raise UsageError(
            f"--model {options.model} is not a file: give an ONNX or TFLite file, timm:NAME or torchvision:NAME"
        )
    if "://" in options.output:
        raise UsageError(f"--output {options.output}: noised models are written to a disk: give a path")
    output_place(options.output)  # refuses one that a Ray job would lose


def _model(options: Options, *, kept: bool) -> AbstractContextManager[Path]:
    """The model's file; a model given by name is exported, into the output if it is to be kept."""
    assert options.model is not None
    return kept_or_not(options.model, options.noise.checkpoint, Path(options.output) / MODELS, kept=kept)


def _variants(options: Options) -> tuple[Variant, list[Variant], set[str]]:
    """The reference, the requested variants, and the names of the model noise that was named itself, not by a group."""
    geometry, _ = choose_geometry(options.dataset, options.target)
    known = with_own(methods_of(options.methods))
    base = base_variant(options.reference, geometry, known=known)
    alone = [part for word in options.variants for part in word.split(",") if not is_group(part)]
    try:
        variants, skipped = expand(options.variants, base, model=True, known=known)
        named, _ = expand(alone, base, model=True, known=known)
    except VariantError as error:
        raise UsageError(str(error)) from None
    for token, problem in skipped.items():
        say(f"left out: {token} {problem}")
    return base, variants, {_name(variant.model) for variant in named}


def _name(methods: Methods) -> str:
    return "+".join(method.token for method in methods)


def _planned(model: Path, noised: Iterable[Methods]) -> str:
    rows: list[Sequence[str]] = [("variant", "nodes")]
    for methods in noised:
        try:
            rows.append((_name(methods), str(len(nodes_changed(model, methods)))))
        except DoesNotApplyError as error:
            rows.append((_name(methods), f"does not apply: {error}"))
    return table(rows)


def _written(models: NoisedModels, noised: Iterable[Methods]) -> tuple[list[Sequence[str]], dict[Methods, str]]:
    """A row for each written variant, and the reasons why others do not apply."""
    rows, refused = list[Sequence[str]](), dict[Methods, str]()
    for methods in noised:
        try:
            made = models.noised(methods)
        except DoesNotApplyError as error:
            refused[methods] = str(error)
            continue
        rows.append((made.name, f"{models.changes[made.name]:,}", made.path.name))
    return rows, refused


def _images(options: Options, model: Path) -> Images:
    """The calibration images: from the reference's shards in the output, which are made if they are missing."""
    preprocessing = read_preprocessing(model, {"preprocessing": options.noise.preprocessing})
    out = Path(options.output)
    existing = [name for name in DATASETS if any((out / name).glob(f"*/{SUMMARY}"))]
    dataset = options.dataset
    if options.inputs.source is None and dataset not in existing and len(existing) == 1:
        (dataset,) = existing
    say(f"int8 is calibrated on images of {out / dataset}")
    if dataset not in existing or options.inputs.source is not None:
        target = wanted_geometry(preprocessing, options.target, dataset)
        make(replace(options, variants=("reference",), target=target))
    return calibration(open_shards(out / dataset), model, preprocessing, options.noise.calibration)
