"""The variants that the words of `--variant` select: single variants, groups, and comma lists of them.

A group may name versions (`resize:pil-6.2.1`), and a variant may have `*` as a version, which stands for several.
Methods that cannot run here are refused by name, but left out of groups. Refuses versions that fit no method of their
group, and model noise without a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from generators.draw import Draw
from generators.registry import AT, AUDIO_STAGES, METHODS, MODEL_STAGES, STAGES, Method, Stage, UnavailableError, find
from generators.variant import (
    ALL,
    ANY,
    LIBRARY_GROUPS,
    MODEL,
    PAPER,
    REFERENCE,
    WITH,
    Variant,
    VariantError,
    is_group,
    of_other_data,
    parse,
    reference,
    unknown_method,
)


def newest(method: Method) -> Sequence[str]:
    """The newest available release of each major version of a method's library."""
    try:
        return method.library.newest()
    except UnavailableError as error:
        raise VariantError(str(error)) from None


def expand(
    words: Iterable[str],
    base: Variant,
    gpu: bool | None = None,
    *,
    model: bool = False,
    known: Mapping[str, Method] = METHODS,
    versions: Callable[[Method], Sequence[str]] = newest,
    runs: bool = True,
) -> tuple[list[Variant], dict[str, str]]:
    """The variants that the words of `--variant` stand for, and the methods left out of groups, with the reasons.

    Words may be variants, groups or comma lists of them. A method that cannot run here is left out of a group, but
    refused if it is named itself; a method whose library is not installed yet is also left out of groups, except its
    library's own. `gpu` is as in `Method.problem`. `model` says whether there is a model: without one, model noise is
    refused, and `paper` and `all` have only pixel methods. `versions` gives the versions that `*` stands for. With
    `runs=False` nothing will be made, so methods that cannot run here are kept.
    """
    found: dict[str, Variant] = {}
    skipped: dict[str, str] = {}
    for text in (part.strip() for word in words for part in word.split(",")):
        for member in _group(text, base, model, known) if is_group(text) else _each(text, known, versions):
            variant = parse(member, base, known)
            if variant.noise and not model:
                raise VariantError(f"{text} is noise of a model or its output, not of the pixels: give --model FILE")
            problems = [(m.token, problem) for m in variant.methods if runs and (problem := m.problem(gpu))]
            if runs and is_group(text) and not _asks_for_library(text):
                problems = problems or [(m.token, _absent(m)) for m in variant.methods if not m.library.ready]
            if problems and is_group(text):
                skipped.update(problems)
            elif problems:
                raise VariantError(f"{problems[0][0]} cannot run here: {problems[0][1]}")
            else:
                found.setdefault(variant.name, variant)
    return list(found.values()), skipped


def of_stage(word: str, stage: Stage, known: Mapping[str, Method] = METHODS) -> list[Method]:
    """The methods of one stage that a word of `--variant` stands for, from the methods in `known`.

    The word is a token, possibly with a version or `*`, or a group, whose methods of other stages are left out.
    Raises VariantError if there are none.
    """
    if "+" in word:
        raise VariantError(f"{word!r} joins methods of several stages: name only those of {stage}")
    group = is_group(word)
    found: list[Method] = []
    for token in _group(word, reference(), True, known) if group else _each(word, known, newest):
        method = find(token, known)
        if method is None and token != REFERENCE:
            raise unknown_method(token, word, known)
        if method and method.stage == stage:
            found.append(method)
        elif method and not group:
            raise VariantError(f"{token} is a method of the stage {method.stage}, not of {stage}")
    if not found:
        raise VariantError(f"{word} has no method of the stage {stage}")
    return found


def _group(text: str, base: Variant, model: bool, known: Mapping[str, Method]) -> list[str]:
    name, *versions = text.split(WITH)
    stages = (*base.stages, *MODEL_STAGES) if model or name in MODEL_STAGES else base.stages
    methods = [one for one in known.values() if one.stage in stages and not isinstance(one.library, Draw)]
    if name == MODEL:
        tokens = [method.token for method in known.values() if method.stage in MODEL_STAGES]
    elif name in (*STAGES, *AUDIO_STAGES):
        if name not in stages:
            raise of_other_data(name, name)
        tokens = [method.token for method in methods if method.stage == name]
    elif name in LIBRARY_GROUPS:
        tokens = [method.token for method in methods if method.library.group == name]
    else:
        tokens = [REFERENCE, *(method.token for method in methods if name == ALL or method.paper)]
        if name == PAPER and len(tokens) == 1:
            raise VariantError(f"{PAPER} has no methods for recordings: name {' or '.join(AUDIO_STAGES)}, or {ALL}")
    if not tokens:
        raise VariantError(f"{name} has no method for the stages {', '.join(base.stages)}")
    if ("resize", None) in base.at and name != "resize":
        tokens = [token for token in tokens if token == REFERENCE or known[token].stage != "resize"]
    return _at(versions, tokens, text, known)


def _at(versions: Sequence[str], tokens: Sequence[str], text: str, known: Mapping[str, Method]) -> list[str]:
    """A group's tokens, with the versions that are named for their libraries: `pil-6.2.1` sets Pillow's."""
    named: dict[str, str] = {}
    for token in versions:
        name, _, version = token.partition(AT)
        if find(token, known) is None:
            raise unknown_method(token, text, known)
        if not version:
            raise VariantError(f"{text!r} names no version of {known[name].library.name}: write {name}{AT}VERSION")
        if named.setdefault(known[name].library.name, version) != version:
            raise VariantError(f"{text!r} names two versions of {known[name].library.name}: keep one of them")
    libraries = {token: known[token].library.name for token in tokens if token != REFERENCE}
    if unused := named.keys() - libraries.values():
        raise VariantError(f"{text!r} has no method of {min(unused)}: leave that version out")
    return [f"{token}{AT}{named[library]}" if (library := libraries.get(token)) in named else token for token in tokens]


def _each(text: str, known: Mapping[str, Method], versions: Callable[[Method], Sequence[str]]) -> list[str]:
    """The variants that a word other than a group stands for: with `*` in it, one for each version."""
    tokens = text.split("+")
    several = [token for token in tokens if token.endswith(f"{AT}{ANY}")]
    if not several:
        return [text]
    if len(several) > 1:
        raise VariantError(f"variant {text!r} has {ANY} twice: name the version of {several[0]} or of {several[1]}")
    name = several[0].removesuffix(ANY)
    method = known.get(name.removesuffix(AT))
    if method is None or not method.library.has_versions:
        raise unknown_method(several[0], text, known)
    at = tokens.index(several[0])
    return ["+".join([*tokens[:at], name + version, *tokens[at + 1 :]]) for version in versions(method)]


def _asks_for_library(group: str) -> bool:
    return group.strip().partition(WITH)[0] in LIBRARY_GROUPS


def _absent(method: Method) -> str:
    name = method.library.group or method.token
    return f"{method.library.name} is not installed here: --variant {name} installs it"
