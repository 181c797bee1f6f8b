"""Random draws of methods: which of several methods a sample is made by, given its key and a seed.

Owns the rule of the draw, which gives the same result on every machine whatever was drawn before, and the pool that
mixed shards draw from. `mix_decode` and `mix_resize` draw among the paper's methods of their stage, except those that
cannot run where the run starts. Their version, in place of a library's, is the seed and the remaining methods in the
registry's order. They are not in the registry: each run has its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from generators.registry import METHODS, Library, Method, Stage

# The stages whose methods can be drawn, and the token of a draw at each of them.
DRAWN: tuple[Stage, ...] = ("decode", "resize")
MIX = "mix"
TOKENS: Mapping[Stage, str] = {stage: f"{MIX}_{stage}" for stage in DRAWN}
_VERSION = re.compile(r"seed (\d{1,100}): ([a-z0-9_ ]+)")


def numbers(seed: int, key: str, epoch: int = 0) -> dict[Stage, int]:
    """A number for each stage: of n methods, the one at index number mod n is drawn.

    The numbers are the halves of the sha256 of `seed/epoch/key`, big-endian. Both are far larger than any n, so every
    method is drawn equally often. Raises ValueError if seed or epoch is no integer: 1.0 would draw otherwise than 1.
    """
    digest = hashlib.sha256(f"{seed:d}/{epoch:d}/{key}".encode()).digest()
    half = len(digest) // 2
    return {"decode": int.from_bytes(digest[:half], "big"), "resize": int.from_bytes(digest[half:], "big")}


@dataclass(frozen=True)
class Draw(Library):
    """Stands in for a library: the methods of a stage that may be drawn, and the seed. It has no functions."""

    methods: tuple[Method, ...] = ()
    seed: int = 0

    def of(self, key: str) -> Method:
        """The method that makes the sample with this key."""
        return self.methods[numbers(self.seed, key)[self.methods[0].stage] % len(self.methods)]

    def function(self, name: str, module: str = "") -> Callable[..., Any]:
        """Always raises TypeError: only the methods that are drawn have functions."""
        raise TypeError(f"{self.name} is drawn for each sample and makes nothing itself")

    def problem(self, module: str = "") -> str | None:
        """Why one of the methods cannot run here, with its token; None if all can."""
        return next((f"{method.token}: {problem}" for method in self.methods if (problem := method.problem())), None)

    def versions(self) -> dict[str, str]:
        """The seed and the methods' tokens, under the draw's own token."""
        return {self.name: f"seed {self.seed}: {' '.join(method.token for method in self.methods)}"}


def mixes(seed: int = 0) -> tuple[Method, ...]:
    """A draw for each stage among all of the paper's methods, including those that cannot run here."""
    paper = [method for method in METHODS.values() if method.paper]
    return tuple(_mix(stage, [method for method in paper if method.stage == stage], seed) for stage in DRAWN)


def mixes_here(words: Iterable[str], seed: int = 0) -> tuple[Method, ...]:
    """The draws among the methods that can run here; none if no word of `--variant` can ask for a draw.

    Imports the libraries, to find out which of them can run.
    """
    if not any(MIX in word for word in words):
        return ()
    return tuple(_mix(m.stage, [one for one in drawn_from(m) if not one.problem()], seed) for m in mixes(seed))


def mixes_in(libraries: Mapping[str, str]) -> tuple[Method, ...]:
    """The draws among a provenance's libraries; the methods that they drew from need not be able to run here."""
    found = []
    for stage, token in TOKENS.items():
        if match := _VERSION.fullmatch(libraries.get(token, "")):
            methods = [METHODS.get(name) for name in match[2].split()]
            known = [method for method in methods if method and method.stage == stage]
            if known and len(known) == len(methods):
                found.append(_mix(stage, known, int(match[1])))
    return tuple(found)


def seed_in(libraries: Mapping[str, str]) -> int | None:
    """The seed of the draws among a provenance's libraries; None if there are none."""
    return next((one.library.seed for one in mixes_in(libraries) if isinstance(one.library, Draw)), None)


def drawn_from(method: Method) -> tuple[Method, ...]:
    """The methods that a draw chooses from; for any other method, just that method."""
    return method.library.methods if isinstance(method.library, Draw) else (method,)


def _mix(stage: Stage, methods: Sequence[Method], seed: int) -> Method:
    return Method(TOKENS[stage], stage, Draw(TOKENS[stage], "", "", methods=tuple(methods), seed=seed), "")
