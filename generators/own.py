"""Custom methods: those that a user defines with `--method TOKEN=STAGE:PROGRAM …`. They work like any other method.

Owns what identifies their pixels: the program's command line, and the sha256 of the program and of each file among its
arguments (a script, weights), under names without this machine's folders. Other files that a program reads are not
tracked. Refuses a token that is taken, a stage that is not a pixel stage, and a program that does not exist.

A manifest records which methods of its variants were custom. The record is compared with what a user gives, and never
executed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from generators.draw import MIX, TOKENS
from generators.registry import METHODS, PIXEL_STAGES, Library, Method, Stage
from generators.variant import GROUPS, NONE, REFERENCE

_TOKEN = re.compile(r"[a-z0-9_]+")
_STAGES: Mapping[str, Stage] = {stage: stage for stage in PIXEL_STAGES}
_SIZE = ("{width}", "{height}")


class OwnMethodError(ValueError):
    """A custom method is not valid; the message is one line that says why."""


@dataclass(frozen=True)
class Program(Library):
    """An external program: its command line, whose first word is its path, and the folder in which it runs.

    `sha256s` are the digests of its files, by name, at the time it was given. Without words it is known only from the
    manifests of what it has made, and cannot be run.
    """

    stage: Stage = "decode"
    words: tuple[str, ...] = ()
    folder: str = ""
    sha256s: tuple[tuple[str, str], ...] = ()

    def function(self, name: str, module: str = "") -> Callable[..., Any]:
        """A function that runs the program for a pixel stage."""
        return functools.partial(super().function(name, module), self.words, self.folder)

    def problem(self, module: str = "") -> str | None:
        """Why the program cannot be run here, or is not the one that was given; None if it is fine."""
        if not self.words:
            return f"needs its program: give --method {self.name}={self.stage}:PROGRAM"
        if not os.path.isdir(self.folder):
            return f"runs in the folder {self.folder}, which does not exist"
        try:
            here = _sha256s(self.words, self.folder)
        except OSError as error:
            return f"cannot be run ({error.filename}: {error.strerror})"
        changed = next((name for name, sha256 in self.sha256s if here.get(name) != sha256), None)
        return changed and f"is not the program that was given: {changed} differs"

    def versions(self) -> dict[str, str]:
        """The program's sha256 by its token, those of its other files by token and file name, and its command line."""
        program, *others = _sha256s(self.words, self.folder).items()
        files = {f"{self.name}/{name}": f"sha256:{sha256}" for name, sha256 in others}
        command = shlex.join(_shown(self.words, self.folder))
        return {self.name: f"sha256:{program[1]}", **files, f"{self.name}={self.stage}": command}


def own_methods(texts: Iterable[str]) -> tuple[Method, ...]:
    """The methods that the values of `--method` define. Raises OwnMethodError."""
    found: dict[str, Method] = {}
    for text in texts:
        method = _own_method(text)
        if method.token in found:
            raise OwnMethodError(f"{method.token} is given twice")
        found[method.token] = method
    return tuple(found.values())


def with_own(methods: Iterable[Method]) -> Mapping[str, Method]:
    """All methods by token: the registry's and these."""
    return {**METHODS, **{method.token: method for method in methods}}


def named_in(libraries: Iterable[str]) -> dict[str, Method]:
    """The custom methods of a variant, by token, as methods that cannot be run.

    `libraries` are the names in the variant's provenance.
    """
    pairs = (name.split("=") for name in libraries if name.count("=") == 1)
    return {
        token: _method(Program(token, _MODULE, "", stage=_STAGES[stage]))
        for token, stage in pairs
        if stage in _STAGES and _is_free(token)
    }


def of_program(token: str, versions: Mapping[str, str]) -> dict[str, str]:
    """The part of a provenance's versions that belongs to the program of a token."""
    return {name: value for name, value in versions.items() if re.split("[/=]", name)[0] == token}


_MODULE = "generators.pixels.program"


def _method(program: Program) -> Method:
    return Method(program.name, program.stage, program, program.stage)


def _is_free(token: str) -> bool:
    return bool(_TOKEN.fullmatch(token)) and token not in (*METHODS, *GROUPS, *TOKENS.values(), MIX, REFERENCE, NONE)


def _own_method(text: str) -> Method:
    token, equals, definition = text.partition("=")
    stage, colon, command = definition.partition(":")
    if not (equals and colon and command.strip()):
        raise OwnMethodError(f"{text!r} is not TOKEN=STAGE:PROGRAM, as in mine=decode:./decode")
    if not _TOKEN.fullmatch(token):
        raise OwnMethodError(f"{token!r} cannot be a token: use a to z, 0 to 9 and _")
    if not _is_free(token):
        raise OwnMethodError(f"{token} is already taken: choose another token")
    if stage not in _STAGES:
        raise OwnMethodError(f"{stage!r} is not a stage of the pixels: use one of {', '.join(_STAGES)}")
    words = _words(command)
    if not all(word.isprintable() for word in words):
        raise OwnMethodError(f"{token} has an argument with a line break or another unprintable character")
    lacking = [word for word in _SIZE if not any(word in other for other in words[1:])]
    if stage == "resize" and lacking:
        raise OwnMethodError(f"{token} is not given the size: put {' and '.join(lacking)} among its arguments")
    if stage != "resize" and len(lacking) < len(_SIZE):
        raise OwnMethodError(f"{token} has {' or '.join(_SIZE)} among its arguments, which only a resize can use")
    folder = os.getcwd()
    program = shutil.which(words[0])
    if program is None:
        raise OwnMethodError(f"{words[0]} is not a program: {_why_not(words[0])}")
    words = (os.path.abspath(program), *words[1:])
    try:
        sha256s = _sha256s(words, folder)
    except OSError as error:
        raise OwnMethodError(f"{error.filename} cannot be read: {error.strerror}") from None
    files = tuple(sha256s.items())
    return _method(Program(token, _MODULE, "", stage=_STAGES[stage], words=words, folder=folder, sha256s=files))


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise OwnMethodError(f"{command!r} cannot be split into words ({error})") from None


def _why_not(word: str) -> str:
    if os.path.isdir(word):
        return "it is a folder"
    if os.path.exists(word):
        return "it is not executable (chmod +x)" if "/" in word else f"write ./{word} for the file in this folder"
    return "there is no such file" if "/" in word else "it is not in PATH"


def _files(words: Sequence[str], folder: str) -> Iterator[str]:
    """The program and the files among its arguments, as written on the command line."""
    yield words[0]
    for word in words[1:]:
        for part in dict.fromkeys((word, word.partition("=")[2])):
            if os.path.isfile(os.path.join(folder, part)):
                yield part


def _shown(words: Iterable[str], folder: str) -> list[str]:
    """A program's command line with file names in place of this machine's paths."""
    return [_without_folders(word, folder) for word in words]


def _without_folders(word: str, folder: str) -> str:
    if _is_path(word, folder):
        return os.path.basename(word.rstrip("/"))
    before, equals, after = word.partition("=")
    return f"{before}={_without_folders(after, folder)}" if equals else word


def _is_path(word: str, folder: str) -> bool:
    return os.path.isabs(word) or ("/" in word and os.path.exists(os.path.join(folder, word)))


def _sha256s(words: Sequence[str], folder: str) -> dict[str, str]:
    """The sha256 of the program and of the files among its arguments, by name. Raises OSError."""
    found: dict[str, list[str]] = {}
    for file in dict.fromkeys(_files(words, folder)):
        found.setdefault(os.path.basename(file), []).append(_sha256(os.path.join(folder, file)))
    return {name: " ".join(digests) for name, digests in found.items()}


def _sha256(path: str) -> str:
    stat = os.stat(path)
    return _sha256_as_of(path, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(256)
def _sha256_as_of(path: str, *stat: int) -> str:
    """A file's digest, cached for as long as the file does not change: weights may be large."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
