"""What a variant is: the token grammar, and canonical names.

Owns the parsing of what a user writes after `--variant`, and the one canonical name that each variant has. A group may
name versions (`resize:pil-6.2.1`), and a variant may have `*` for one, which stands for several. Images and recordings
have stages of their own, and the reference says of which a variant is. Refuses unknown tokens (naming the nearest), two
methods for one stage, a decoder beside a method that decodes itself, methods for a stage that the geometry leaves out
or that is not of the images or recordings at hand, and noise in a model where there is no model.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from generators.registry import (
    AT,
    AUDIO_STAGES,
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
LIBRARY_GROUPS: tuple[str, ...] = tuple(dict.fromkeys(found.group for found in LIBRARIES.values() if found.group))
GROUPS: tuple[str, ...] = (*STAGES, *AUDIO_STAGES, PAPER, MODEL, ALL, *LIBRARY_GROUPS)
REFERENCE = "reference"
DEFAULT_REFERENCE = "pil+pil_bilinear"
# What librosa.load resamples by, and the operators of Tacotron 2 and FastSpeech 2 (generators/audio/settings.py).
DEFAULT_OF_SPEECH = "soxr_hq+numpy_stft"
_DEFAULTS: dict[tuple[Stage, ...], str] = {PIXEL_STAGES: DEFAULT_REFERENCE, AUDIO_STAGES: DEFAULT_OF_SPEECH}
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

    `at` has the method of each stage of an image, or of a recording, in their order; None where the stage is left out.
    Where one method decodes and resizes in one, it is at both. `noise` are the methods inside and behind a model, in
    order of stages, and `pixels` is the name of the same variant without them.
    """

    name: str
    at: tuple[tuple[Stage, Method | None], ...]
    noise: tuple[Method, ...] = ()
    pixels: str = ""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that there are before a model."""
        return tuple(stage for stage, _ in self.at)

    @functools.cached_property
    def decode(self) -> Method:
        return self.method("decode")

    @functools.cached_property
    def resize(self) -> Method | None:
        return dict(self.at)["resize"]

    @functools.cached_property
    def color(self) -> Method | None:
        return dict(self.at)["color"]

    def method(self, stage: Stage) -> Method:
        """The method of a stage that is not left out."""
        found = dict(self.at)[stage]
        assert found
        return found

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods used, in stage order."""
        return (*dict.fromkeys(method for _, method in self.at if method), *self.noise)

    @property
    def gpu(self) -> bool:
        """Whether one of the methods needs a GPU."""
        return any(method.gpu for method in self.methods)

    @property
    def spelled_out(self) -> dict[str, str]:
        """The token of every stage before the model by stage name; `none` where the stage is left out."""
        return {stage: method.token if method else NONE for stage, method in self.at}

    @property
    def noise_spelled_out(self) -> dict[str, str]:
        """The token of every stage of the model and its output by stage name; `none` where it is as it was."""
        chosen: dict[str, str] = {method.stage: method.token for method in self.noise}
        return {stage: chosen.get(stage, NONE) for stage in MODEL_STAGES}

    @property
    def model(self) -> tuple[Method, ...]:
        """The methods that change the model itself, which boxes do not."""
        return tuple(method for method in self.noise if method.stage != "boxes")


def _split(text: str, known: Mapping[str, Method], stages: Sequence[Stage]) -> dict[Stage, Method]:
    chosen: dict[Stage, Method] = {}
    for token in text.split("+"):
        method = find(token, known)
        if method is None:
            raise _unknown(token, text, known)
        if method.stage not in (*stages, *MODEL_STAGES):
            raise _of_others(token, method.stage)
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


def _of_others(word: str, stage: Stage) -> VariantError:
    """A method or group of images among recordings, or the other way."""
    if stage in AUDIO_STAGES:
        return VariantError(f"{word} is of recordings (the stage {stage}): it goes with --dataset speech alone")
    return VariantError(f"{word} is of images (the stage {stage}): speech has the stages {' and '.join(AUDIO_STAGES)}")


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


def reference(
    text: str = "",
    *,
    stages: tuple[Stage, ...] = PIXEL_STAGES,
    resizes: bool = True,
    known: Mapping[str, Method] = METHODS,
) -> Variant:
    """The variant that all others are compared with, of the methods that are `known`, for images or recordings.

    A stage that `text` leaves out takes the default reference's method. With `resizes=False` (the `identity`
    geometry) the resize stage is left out altogether. A model's reference is the model as it is.
    """
    default = _split(_DEFAULTS[stages], known, stages)
    chosen = {**default, **_split(text or _DEFAULTS[stages], known, stages)}
    for stage in MODEL_STAGES:
        if stage in chosen:
            raise VariantError(f"{chosen[stage].token} cannot be in a reference, which has the model as it is")
    if not resizes:
        chosen.pop("resize", None)
    whole = chosen.get("resize")
    if whole and whole.whole:
        raise VariantError(
            f"{whole.token} decodes and resizes in one, and a variant differs from its reference in one of the two: "
            "choose another reference"
        )
    name = [chosen[stage].token for stage in default if stage in chosen][-1]
    return Variant(name, tuple((stage, chosen.get(stage)) for stage in stages), pixels=name)


def parse(text: str, base: Variant, known: Mapping[str, Method] = METHODS) -> Variant:
    """The variant that `text` stands for, relative to the reference `base`, of the methods that are `known`.

    Tokens that equal the reference's are dropped from the name; if none is left, the name is the reference's.
    """
    if text == REFERENCE:
        return base
    chosen = _split(text, known, base.stages)
    before = dict(base.at)
    if "resize" in chosen and before["resize"] is None:
        raise VariantError(
            f"variant {text!r} names a resize method, but the identity geometry does not resize: "
            "leave it out, or choose another --geometry"
        )
    after = {**before, **{stage: method for stage, method in chosen.items() if stage in before}}
    whole = after.get("resize")
    if whole and whole.whole:
        after["decode"] = whole
    own = list(dict.fromkeys(method.token for stage, method in after.items() if method and method != before[stage]))
    noise = tuple(chosen[stage] for stage in MODEL_STAGES if stage in chosen)
    name = "+".join([*own, *(method.token for method in noise)]) or base.name
    return Variant(name, tuple(after.items()), noise, "+".join(own) or base.name)


def changed(stages: Mapping[str, str], base: Mapping[str, str]) -> tuple[Stage, ...]:
    """The stages at which a variant differs from its reference, in order, by the tokens of both.

    What decodes and resizes in one is another method of resizing.
    """
    every = (*AUDIO_STAGES, *STAGES)
    own = (stage for stage in every if stages.get(stage, NONE) != base.get(stage, NONE))
    return tuple(stage for stage in own if not (stage == "decode" and is_whole(stages)))


def name_of(stages: Mapping[str, str], base: Mapping[str, str]) -> str:
    """The canonical name of a variant, from the tokens of its stages and the reference's; empty for the reference."""
    return "+".join(stages.get(stage, NONE) for stage in changed(stages, base))


def in_full(stages: Mapping[str, str]) -> str:
    """A variant with the methods of all stages before the model named, `pil+pil_lanczos`, from their tokens."""
    tokens = dict.fromkeys(stages.get(stage, NONE) for stage in (*PIXEL_STAGES, *AUDIO_STAGES))
    return "+".join(token for token in tokens if token != NONE)


def added(stages: Mapping[str, str], stage: str, token: str) -> dict[str, str]:
    """The tokens of a variant's stages with another method at one of them."""
    method = find(token)
    return {**stages, stage: token, **({"decode": token} if method and method.whole else {})}


def is_whole(stages: Mapping[str, str]) -> bool:
    """Whether one method decodes and resizes in one, by the tokens of the stages."""
    return NONE != stages.get("decode", NONE) == stages.get("resize", NONE)


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
    stages = (*base.stages, *MODEL_STAGES) if model or name in MODEL_STAGES else base.stages
    methods = [method for method in known.values() if method.stage in stages]
    if name == MODEL:
        tokens = [method.token for method in known.values() if method.stage in MODEL_STAGES]
    elif name in (*STAGES, *AUDIO_STAGES):
        if name not in stages:
            raise _of_others(name, name)
        tokens = [method.token for method in methods if method.stage == name]
    elif name in LIBRARY_GROUPS:
        tokens = [method.token for method in methods if method.library.group == name]
    else:
        tokens = [REFERENCE, *(method.token for method in methods if name == ALL or method.paper)]
        if name == PAPER and len(tokens) == 1:
            raise VariantError(f"{PAPER} has no methods of recordings: name {' or '.join(AUDIO_STAGES)}, or {ALL}")
    if not tokens:
        raise VariantError(f"{name} has no method for the stages {', '.join(base.stages)}")
    if ("resize", None) in base.at and name != "resize":
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


def of_stage(word: str, stage: Stage, known: Mapping[str, Method] = METHODS) -> list[Method]:
    """The methods of one stage that a word of `--variant` stands for, of the methods that are `known`.

    The word is a token, with a version or `*` for it perhaps, or a group, whose methods of other stages are left out.
    Raises VariantError where there is none.
    """
    if "+" in word:
        raise VariantError(f"{word!r} joins methods of several stages: name those of {stage} alone")
    group = is_group(word)
    found: list[Method] = []
    for token in _group(word, reference(), True, known) if group else _each(word, known, newest):
        method = find(token, known)
        if method is None and token != REFERENCE:
            raise _unknown(token, word, known)
        if method and method.stage == stage:
            found.append(method)
        elif method and not group:
            raise VariantError(f"{token} is a method of the stage {method.stage}, and not of {stage}")
    if not found:
        raise VariantError(f"{word} has no method of the stage {stage}")
    return found
