"""What a variant is: the token grammar, and canonical names.

Parses a variant's text and gives it its one canonical name; `selection` parses groups and lists of variants. Images and
recordings have different stages; the reference determines which a variant has. Refuses unknown tokens (suggesting the
nearest), two methods for one stage, a decoder together with a method that decodes too, methods of a stage that the
geometry leaves out or that the data does not have, and a reference that is drawn.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from generators.draw import DRAWN, MIX, TOKENS, Draw, drawn_from
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
    find,
)

PAPER, MODEL, ALL = "paper", "model", "all"
# Groups of a library's methods: their missing libraries are installed, where other groups leave such methods out.
LIBRARY_GROUPS: tuple[str, ...] = tuple(dict.fromkeys(found.group for found in LIBRARIES.values() if found.group))
GROUPS: tuple[str, ...] = (*STAGES, *AUDIO_STAGES, PAPER, MODEL, ALL, *LIBRARY_GROUPS)
REFERENCE = "reference"
DEFAULT_REFERENCE = "pil+pil_bilinear"
# librosa.load's resampler, and the STFT of Tacotron 2 and FastSpeech 2 (generators/audio/settings.py).
DEFAULT_OF_SPEECH = "soxr_hq+numpy_stft"
_DEFAULTS: dict[tuple[Stage, ...], str] = {PIXEL_STAGES: DEFAULT_REFERENCE, AUDIO_STAGES: DEFAULT_OF_SPEECH}
NONE = "none"
# Stands for several versions, where a version is expected.
ANY = "*"
# Separates a group from the versions of its libraries.
WITH = ":"


class VariantError(ValueError):
    """The text is not a variant; the message is one line that says what to write instead."""


@dataclass(frozen=True)
class Variant:
    """One method for each stage, with its canonical name.

    `at` has the method of each stage of an image or a recording, in order; None if the stage is left out. A method that
    decodes and resizes in one step is at both stages; a draw is at the stage where it draws a method for each sample.
    `noise` are the methods in and behind the model, in stage order, and `pixels` is the name of the same variant
    without them.
    """

    name: str
    at: tuple[tuple[Stage, Method | None], ...]
    noise: tuple[Method, ...] = ()
    pixels: str = ""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages before the model."""
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
        """The methods used, in stage order; a draw is followed by the methods that it draws from."""
        used = (one for _, method in self.at if method for one in (method, *drawn_from(method)))
        return (*dict.fromkeys(used), *self.noise)

    @functools.cached_property
    def drawn(self) -> tuple[Stage, ...]:
        """The stages at which a method is drawn for each sample."""
        return tuple(stage for stage, method in self.at if method and isinstance(method.library, Draw))

    def of(self, key: str) -> Variant:
        """The variant that makes the sample with this key, under this variant's name; itself if nothing is drawn."""
        if not self.drawn:
            return self
        at = ((s, m.library.of(key) if m and isinstance(m.library, Draw) else m) for s, m in self.at)
        return replace(self, at=tuple(at))

    @property
    def each(self) -> tuple[Variant, ...]:
        """Variants without draws that together use every method that may be drawn; just itself if nothing is drawn."""
        if not self.drawn:
            return (self,)
        several = [(stage, drawn_from(method) if method else (None,)) for stage, method in self.at]
        found = []
        for place in range(max(len(methods) for _, methods in several)):
            at = tuple((stage, methods[place % len(methods)]) for stage, methods in several)
            found.append(replace(self, name="+".join(method.token for _, method in at if method), at=at))
        return tuple(found)

    @property
    def gpu(self) -> bool:
        """Whether a method needs a GPU."""
        return any(method.gpu for method in self.methods)

    @property
    def spelled_out(self) -> dict[str, str]:
        """The token of each stage before the model, by stage name; `none` if the stage is left out."""
        return {stage: method.token if method else NONE for stage, method in self.at}

    @property
    def noise_spelled_out(self) -> dict[str, str]:
        """The token of each stage of the model and its output, by stage name; `none` if it is unchanged."""
        chosen: dict[str, str] = {method.stage: method.token for method in self.noise}
        return {stage: chosen.get(stage, NONE) for stage in MODEL_STAGES}

    @property
    def model(self) -> tuple[Method, ...]:
        """The methods that change the model itself, which box noise does not."""
        return tuple(method for method in self.noise if method.stage != "boxes")


def _split(text: str, known: Mapping[str, Method], stages: Sequence[Stage]) -> dict[Stage, Method]:
    chosen: dict[Stage, Method] = {}
    for token in _spelled(text).split("+"):
        method = find(token, known)
        if method is None:
            raise unknown_method(token, text, known)
        if method.stage not in (*stages, *MODEL_STAGES):
            raise of_other_data(token, method.stage)
        if method.stage in chosen:
            first = chosen[method.stage].token
            raise VariantError(
                f"variant {text!r} names two {method.stage} methods, {first} and {token}: keep one of them"
            )
        chosen[method.stage] = method
    whole = chosen.get("resize")
    if whole and whole.whole and "decode" in chosen:
        raise VariantError(
            f"variant {text!r} names {chosen['decode'].token}, but {whole.token} decodes too: leave one of them out"
        )
    return chosen


def _spelled(text: str, stages: Iterable[Stage] = DRAWN) -> str:
    """A variant's text with `mix` replaced by the draws of these stages."""
    both = "+".join(TOKENS[stage] for stage in stages)
    return "+".join(both if token == MIX else token for token in text.split("+"))


def of_other_data(word: str, stage: Stage) -> VariantError:
    """The error for a method or group of images in a variant of recordings, or the other way round."""
    if stage in AUDIO_STAGES:
        return VariantError(f"{word} is for recordings (the stage {stage}): use it with --dataset speech")
    return VariantError(f"{word} is for images (the stage {stage}): speech has the stages {' and '.join(AUDIO_STAGES)}")


def unknown_method(token: str, text: str, known: Mapping[str, Method]) -> VariantError:
    """The error for an unknown token in a variant's text, with a hint."""
    return VariantError(f"unknown method {token!r} in variant {text!r}: {_hint(token, known)}")


def _hint(token: str, known: Mapping[str, Method]) -> str:
    """What to write instead of an unknown token."""
    if token in (*GROUPS, REFERENCE):
        return f"{token} cannot be joined with +"
    name, at, version = token.partition(AT)
    if at and name in known:
        if not known[name].library.has_versions:
            return f"{name} has only one version"
        if version == ANY:
            return f"{AT}{ANY} stands for several versions, which only --variant takes: name one of them"
        library = known[name].library
        example = library.version if isinstance(library, Release) else "12.3.0"
        return f"{version!r} is not a version: write one of {library.distribution}, as in {name}{AT}{example}"
    near = difflib.get_close_matches(token, [*known, *GROUPS, REFERENCE], n=3, cutoff=0.5)
    return f"did you mean {', '.join(near)}?" if near else "see --list-variants"


def reference(
    text: str = "",
    *,
    stages: tuple[Stage, ...] = PIXEL_STAGES,
    resizes: bool = True,
    known: Mapping[str, Method] = METHODS,
) -> Variant:
    """The variant that all others are compared with, from the methods in `known`, for images or recordings.

    A stage that `text` leaves out takes the default reference's method. With `resizes=False` (the `identity`
    geometry) there is no resize stage. The reference has the model unchanged.
    """
    default = _split(_DEFAULTS[stages], known, stages)
    chosen = {**default, **_split(text or _DEFAULTS[stages], known, stages)}
    for stage in MODEL_STAGES:
        if stage in chosen:
            raise VariantError(f"{chosen[stage].token} cannot be in a reference, which has the model unchanged")
    if draw := next((method.token for method in chosen.values() if isinstance(method.library, Draw)), None):
        raise VariantError(f"{draw} draws a method for each sample, and a reference needs a fixed one: name a method")
    if not resizes:
        chosen.pop("resize", None)
    whole = chosen.get("resize")
    if whole and whole.whole:
        raise VariantError(
            f"{whole.token} decodes and resizes in one step, but variants must be able to differ from the reference in "
            "one of the two: choose another reference"
        )
    name = [chosen[stage].token for stage in default if stage in chosen][-1]
    return Variant(name, tuple((stage, chosen.get(stage)) for stage in stages), pixels=name)


def parse(text: str, base: Variant, known: Mapping[str, Method] = METHODS) -> Variant:
    """The variant that `text` stands for, relative to the reference `base`, from the methods in `known`.

    Tokens that equal the reference's are dropped from the name; if none is left, the name is the reference's.
    """
    if text == REFERENCE:
        return base
    before = dict(base.at)
    chosen = _split(_spelled(text, [stage for stage in DRAWN if before.get(stage, stage)]), known, base.stages)
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
    """The stages at which a variant differs from its reference, in order, given the tokens of both.

    A method that decodes and resizes in one step counts as a different resize only.
    """
    every = (*AUDIO_STAGES, *STAGES)
    own = (stage for stage in every if stages.get(stage, NONE) != base.get(stage, NONE))
    return tuple(stage for stage in own if not (stage == "decode" and is_whole(stages)))


def name_of(stages: Mapping[str, str], base: Mapping[str, str]) -> str:
    """A variant's canonical name, from its stages' tokens and the reference's; empty for the reference itself."""
    return "+".join(stages.get(stage, NONE) for stage in changed(stages, base))


def in_full(stages: Mapping[str, str]) -> str:
    """A variant with the method of every stage before the model named, as in `pil+pil_lanczos`, from its tokens."""
    tokens = dict.fromkeys(stages.get(stage, NONE) for stage in (*PIXEL_STAGES, *AUDIO_STAGES))
    return "+".join(token for token in tokens if token != NONE)


def added(stages: Mapping[str, str], stage: str, token: str) -> dict[str, str]:
    """A variant's tokens with the method of one stage replaced."""
    method = find(token)
    return {**stages, stage: token, **({"decode": token} if method and method.whole else {})}


def is_whole(stages: Mapping[str, str]) -> bool:
    """Whether one method decodes and resizes in one step, given the tokens of the stages."""
    return NONE != stages.get("decode", NONE) == stages.get("resize", NONE)


def is_group(word: str) -> bool:
    """Whether a word of `--variant` is a group, whose methods are left out, not refused, if they cannot run."""
    return word.strip().partition(WITH)[0] in GROUPS
