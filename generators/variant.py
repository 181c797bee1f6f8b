"""What a variant is: the token grammar, and canonical names.

Owns the parsing of what a user writes after `--variant`, and the one canonical name that each variant has. A group may
name versions (`resize:pil-6.2.1`), and a variant may have `*` for one, which stands for several. Refuses unknown tokens
(naming the nearest), two methods for one stage, a decoder beside a method that decodes itself, methods for a stage that
the geometry leaves out, and noise in a model where there is no model.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from generators.registry import (
    AT,
    LIBRARIES,
    METHODS,
    MODEL_STAGES,
    PIXEL_STAGES,
    STAGES,
    Method,
    Release,
    Stage,
    UnavailableError,
    find,
)

PAPER, MODEL, ALL = "paper", "model", "all"
# Those that stand for the methods of a library: what is not installed of them is installed, and not left out.
_GROUPED = {method.library.group for method in METHODS.values() if method.stage in STAGES}
LIBRARY_GROUPS: tuple[str, ...] = tuple(
    dict.fromkeys(found.group for found in LIBRARIES.values() if found.group and found.group in _GROUPED)
)
GROUPS: tuple[str, ...] = (*STAGES, PAPER, MODEL, ALL, *LIBRARY_GROUPS)
REFERENCE = "reference"
DEFAULT_REFERENCE = "pil+pil_bilinear"
NONE = "none"
# In place of a version: several of them.
ANY = "*"
# Between a group and the versions of its libraries.
WITH = ":"


class VariantError(ValueError):
    """What a user wrote is not a variant; the message is one line that says what to write instead."""


@dataclass(frozen=True)
class Variant:
    """One method for each stage, with its canonical name.

    `resize` or `color` is None where the stage is left out. Where one method decodes and resizes in one, it is both
    `decode` and `resize`. `noise` are the methods inside and behind a model, in order
    of stages, and `pixels` is the name of the same variant without them.
    """

    name: str
    decode: Method
    resize: Method | None
    color: Method | None
    noise: tuple[Method, ...] = ()
    pixels: str = ""

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods used, in stage order."""
        pixels = (self.decode, self.resize, self.color)
        return (*dict.fromkeys(method for method in pixels if method), *self.noise)

    @property
    def gpu(self) -> bool:
        """Whether one of the methods needs a GPU."""
        return any(method.gpu for method in self.methods)

    @property
    def spelled_out(self) -> dict[str, str]:
        """The token of every stage of the pixels by stage name; `none` where the stage is left out."""
        stages = zip(PIXEL_STAGES, (self.decode, self.resize, self.color), strict=True)
        return {stage: method.token if method else NONE for stage, method in stages}

    @property
    def noise_spelled_out(self) -> dict[str, str]:
        """The token of every stage of the model and its output by stage name; `none` where it is as it was."""
        chosen: dict[str, str] = {method.stage: method.token for method in self.noise}
        return {stage: chosen.get(stage, NONE) for stage in MODEL_STAGES}

    @property
    def model(self) -> tuple[Method, ...]:
        """The methods that change the model itself, which boxes do not."""
        return tuple(method for method in self.noise if method.stage != "boxes")


def _split(text: str, known: Mapping[str, Method]) -> dict[Stage, Method]:
    chosen: dict[Stage, Method] = {}
    for token in text.split("+"):
        method = find(token, known)
        if method is None:
            raise _unknown(token, text, known)
        if method.stage in chosen:
            first = chosen[method.stage].token
            raise VariantError(
                f"variant {text!r} names two {method.stage} methods, {first} and {token}: keep one of them"
            )
        chosen[method.stage] = method
    whole = chosen.get("resize")
    if whole and whole.whole and "decode" in chosen:
        raise VariantError(
            f"variant {text!r} names {chosen['decode'].token}, but {whole.token} decodes itself: leave one of them out"
        )
    return chosen


def _unknown(token: str, text: str, known: Mapping[str, Method]) -> VariantError:
    return VariantError(f"unknown method {token!r} in variant {text!r}: {_hint(token, known)}")


def _hint(token: str, known: Mapping[str, Method]) -> str:
    """What to write in place of a token that stands for no method."""
    if token in (*GROUPS, REFERENCE):
        return f"{token} stands alone and cannot be joined with +"
    name, at, version = token.partition(AT)
    if at and name in known:
        if not known[name].library.has_versions:
            return f"there is one version of {name} alone"
        if version == ANY:
            return f"{AT}{ANY} stands for several versions, which --variant alone takes: name one of them"
        library = known[name].library
        example = library.version if isinstance(library, Release) else "12.3.0"
        return f"{version!r} is no version: write one of {library.distribution}, as in {name}{AT}{example}"
    near = difflib.get_close_matches(token, [*known, *GROUPS, REFERENCE], n=3, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else "see --list-variants"


def reference(text: str = DEFAULT_REFERENCE, *, resizes: bool = True, known: Mapping[str, Method] = METHODS) -> Variant:
    """The variant that all others are compared with, of the methods that are `known`.

    A stage that `text` leaves out takes the default reference's method. With `resizes=False` (the `identity`
    geometry) the resize stage is left out altogether. A model's reference is the model as it is.
    """
    chosen = {**_split(DEFAULT_REFERENCE, known), **_split(text, known)}
    for stage in MODEL_STAGES:
        if stage in chosen:
            raise VariantError(f"{chosen[stage].token} cannot be in a reference, which has the model as it is")
    resize = chosen["resize"] if resizes else None
    if resize and resize.whole:
        raise VariantError(
            f"{resize.token} decodes and resizes in one, and a variant differs from its reference in one of the two: "
            "choose another reference"
        )
    decode = chosen["decode"]
    name = (resize or decode).token
    return Variant(name, decode, resize, chosen.get("color"), pixels=name)


def parse(text: str, base: Variant, known: Mapping[str, Method] = METHODS) -> Variant:
    """The variant that `text` stands for, relative to the reference `base`, of the methods that are `known`.

    Tokens that equal the reference's are dropped from the name; if none is left, the name is the reference's.
    """
    if text == REFERENCE:
        return base
    chosen = _split(text, known)
    if base.resize is None and "resize" in chosen:
        raise VariantError(
            f"variant {text!r} names a resize method, but the identity geometry does not resize: "
            "leave it out, or choose another --geometry"
        )
    resize = chosen.get("resize", base.resize)
    decode = resize if resize and resize.whole else chosen.get("decode", base.decode)
    color = chosen.get("color", base.color)
    pairs = ((decode, base.decode), (resize, base.resize), (color, base.color))
    own = list(dict.fromkeys(method.token for method, theirs in pairs if method is not None and method != theirs))
    noise = tuple(chosen[stage] for stage in MODEL_STAGES if stage in chosen)
    name = "+".join([*own, *(method.token for method in noise)]) or base.name
    return Variant(name, decode, resize, color, noise, "+".join(own) or base.name)


def changed(stages: Mapping[str, str], base: Mapping[str, str]) -> tuple[Stage, ...]:
    """The stages at which a variant differs from its reference, in order, by the tokens of both.

    What decodes and resizes in one is another method of resizing.
    """
    own = (stage for stage in STAGES if stages.get(stage, NONE) != base.get(stage, NONE))
    return tuple(stage for stage in own if not (stage == "decode" and is_whole(stages)))


def name_of(stages: Mapping[str, str], base: Mapping[str, str]) -> str:
    """The canonical name of a variant, from the tokens of its stages and the reference's; empty for the reference."""
    return "+".join(stages.get(stage, NONE) for stage in changed(stages, base))


def in_full(stages: Mapping[str, str]) -> str:
    """A variant with the methods of all stages of its pixels named, `pil+pil_lanczos`, from their tokens."""
    tokens = dict.fromkeys(stages.get(stage, NONE) for stage in PIXEL_STAGES)
    return "+".join(token for token in tokens if token != NONE)


def added(stages: Mapping[str, str], stage: str, token: str) -> dict[str, str]:
    """The tokens of a variant's stages with another method at one of them."""
    method = find(token)
    return {**stages, stage: token, **({"decode": token} if method and method.whole else {})}


def is_whole(stages: Mapping[str, str]) -> bool:
    """Whether one method decodes and resizes in one, by the tokens of the stages."""
    return stages.get("decode", NONE) == stages.get("resize", NONE)


def is_group(word: str) -> bool:
    """Whether a word of `--variant` is a group: what cannot run of it is left out, and not refused."""
    return word.strip().partition(WITH)[0] in GROUPS


def _asks_for_library(group: str) -> bool:
    return group.strip().partition(WITH)[0] in LIBRARY_GROUPS


def _absent(method: Method) -> str:
    name = method.library.group or method.token
    return f"{method.library.name} is not installed here: --variant {name} installs it"


def _group(text: str, base: Variant, model: bool, known: Mapping[str, Method]) -> list[str]:
    name, *versions = text.split(WITH)
    if name == MODEL:
        tokens = [method.token for method in known.values() if method.stage in MODEL_STAGES]
    elif name in STAGES:
        tokens = [method.token for method in known.values() if method.stage == name]
    elif name in LIBRARY_GROUPS:
        tokens = [method.token for method in known.values() if method.library.group == name]
    else:
        stages = STAGES if model else PIXEL_STAGES
        methods = [method for method in known.values() if method.stage in stages]
        tokens = [REFERENCE, *(method.token for method in methods if name == ALL or method.paper)]
    if base.resize is None and name != "resize":
        tokens = [token for token in tokens if token == REFERENCE or known[token].stage != "resize"]
    return _at(versions, tokens, text, known)


def _at(versions: Sequence[str], tokens: Sequence[str], text: str, known: Mapping[str, Method]) -> list[str]:
    """A group's tokens, with the version of each library of which one is named: `pil-6.2.1` is Pillow's."""
    named: dict[str, str] = {}
    for token in versions:
        name, _, version = token.partition(AT)
        if find(token, known) is None:
            raise _unknown(token, text, known)
        if not version:
            raise VariantError(f"{text!r} names no version of {known[name].library.name}: write {name}{AT}VERSION")
        if named.setdefault(known[name].library.name, version) != version:
            raise VariantError(f"{text!r} names two versions of {known[name].library.name}: keep one of them")
    libraries = {token: known[token].library.name for token in tokens if token != REFERENCE}
    if unused := named.keys() - libraries.values():
        raise VariantError(f"{text!r} has no method of {min(unused)}: leave that out")
    return [f"{token}{AT}{named[library]}" if (library := libraries.get(token)) in named else token for token in tokens]


def newest(method: Method) -> Sequence[str]:
    """The newest release of each major version of a method's library that can be had here."""
    try:
        return method.library.newest()
    except UnavailableError as error:
        raise VariantError(str(error)) from None


def _each(text: str, known: Mapping[str, Method], versions: Callable[[Method], Sequence[str]]) -> list[str]:
    """The variants that a word stands for which is no group: one for each version, where it has `*`."""
    tokens = text.split("+")
    several = [token for token in tokens if token.endswith(f"{AT}{ANY}")]
    if not several:
        return [text]
    if len(several) > 1:
        raise VariantError(f"variant {text!r} has {ANY} twice: name the version of {several[0]} or of {several[1]}")
    name = several[0].removesuffix(ANY)
    method = known.get(name.removesuffix(AT))
    if method is None or not method.library.has_versions:
        raise _unknown(several[0], text, known)
    at = tokens.index(several[0])
    return ["+".join([*tokens[:at], name + version, *tokens[at + 1 :]]) for version in versions(method)]


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
    """The variants that the words of `--variant` stand for, and the methods that were left out of groups.

    Words may be variants, groups or comma lists of them. A method that cannot run here is left out of a group (and
    returned with the reason) but refused when it is named; one whose library is yet to be installed is left out of
    groups too, unless the group is the library's own. `gpu` is as in `Method.problem`; `model` says whether there
    is a model: without one, noise in it is refused, and `paper` and `all` are of the pixels alone. `versions` says what
    `*` stands for in place of a method's version. With `runs=False` nothing is to be made, and what cannot run here is
    as good as any.
    """
    found: dict[str, Variant] = {}
    skipped: dict[str, str] = {}
    for text in (part.strip() for word in words for part in word.split(",")):
        for member in _group(text, base, model, known) if is_group(text) else _each(text, known, versions):
            variant = parse(member, base, known)
            if variant.noise and not model:
                raise VariantError(f"{text} is noise in a model or behind it, not of the pixels: give --model FILE")
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
