"""Methods of one's own: what a user writes after `--method`, TOKEN=STAGE:PROGRAM …, as methods like any other.

Owns what decides their pixels: the program's words, and the sha256 of the program's file and of each file among its
arguments (a script, weights), by names without the folders of this machine. What else a program reads is not known.
Refuses a token that has a meaning already, a stage that is not of the pixels, and a program that is not there.

A manifest says which methods of its variants were somebody's own. What it says is compared with what a user gives, and
never run.
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
    """What a user wrote makes no method; the message is one line that says what is wrong with it."""


@dataclass(frozen=True)
class Program(Library):
    """An external program: its words, of which the first is its path, and the folder in which it runs.

    `sha256s` are the digests of its files as they were when it was given, by name. Without words it is known by the
    manifests of what it has made, and cannot be run.
    """

    stage: Stage = "decode"
    words: tuple[str, ...] = ()
    folder: str = ""
    sha256s: tuple[tuple[str, str], ...] = ()

    def function(self, name: str, module: str = "") -> Callable[..., Any]:
        """What runs the program for a stage of the pixels."""
        return functools.partial(super().function(name, module), self.words, self.folder)

    def problem(self, module: str = "") -> str | None:
        """Why the program cannot be run here, or is not the one that was given; None if it can be and is."""
        if not self.words:
            return f"needs its program: give --method {self.name}={self.stage}:PROGRAM"
        if not os.path.isdir(self.folder):
            return f"runs in the folder {self.folder}, which is not there"
        try:
            here = _sha256s(self.words, self.folder)
        except OSError as error:
            return f"cannot be run ({error.filename}: {error.strerror})"
        changed = next((name for name, sha256 in self.sha256s if here.get(name) != sha256), None)
        return changed and f"is not the program that was given: {changed} differs"

    def versions(self) -> dict[str, str]:
        """The sha256 of the program by its token, of its other files by token and name, and its command."""
        program, *others = _sha256s(self.words, self.folder).items()
        files = {f"{self.name}/{name}": f"sha256:{sha256}" for name, sha256 in others}
        command = shlex.join(_shown(self.words, self.folder))
        return {self.name: f"sha256:{program[1]}", **files, f"{self.name}={self.stage}": command}


def own_methods(texts: Iterable[str]) -> tuple[Method, ...]:
    """The methods that the words of `--method` stand for. Raises OwnMethodError."""
    found: dict[str, Method] = {}
    for text in texts:
        method = _own_method(text)
        if method.token in found:
            raise OwnMethodError(f"{method.token} is given twice")
        found[method.token] = method
    return tuple(found.values())


def with_own(methods: Iterable[Method]) -> Mapping[str, Method]:
    """All methods that there are, by token: those of the registry, and these."""
    return {**METHODS, **{method.token: method for method in methods}}


def named_in(libraries: Iterable[str]) -> dict[str, Method]:
    """The methods of somebody's own that a variant went through, by token, as methods that cannot be run.

    `libraries` are the names in the variant's provenance.
    """
    pairs = (name.split("=") for name in libraries if name.count("=") == 1)
    return {
        token: _method(Program(token, _MODULE, "", stage=_STAGES[stage]))
        for token, stage in pairs
        if stage in _STAGES and _is_free(token)
    }


def of_program(token: str, versions: Mapping[str, str]) -> dict[str, str]:
    """Of what a provenance has on libraries, what is on the program of a token."""
    return {name: value for name, value in versions.items() if re.split("[/=]", name)[0] == token}


_MODULE = "generators.pixels.program"


def _method(program: Program) -> Method:
    return Method(program.name, program.stage, program, program.stage)


def _is_free(token: str) -> bool:
    return bool(_TOKEN.fullmatch(token)) and token not in (*METHODS, *GROUPS, *TOKENS.values(), MIX, REFERENCE, NONE)


def _own_method(text: str) -> Method:
    token, equals, said = text.partition("=")
    stage, colon, command = said.partition(":")
    if not (equals and colon and command.strip()):
        raise OwnMethodError(f"{text!r} is not TOKEN=STAGE:PROGRAM, as in mine=decode:./decode")
    if not _TOKEN.fullmatch(token):
        raise OwnMethodError(f"{token!r} cannot be a token: use a to z, 0 to 9 and _")
    if not _is_free(token):
        raise OwnMethodError(f"{token} has a meaning already: take another token")
    if stage not in _STAGES:
        raise OwnMethodError(f"{stage!r} is no stage of the pixels: give one of {', '.join(_STAGES)}")
    words = _words(command)
    if not all(word.isprintable() for word in words):
        raise OwnMethodError(f"{token} has a word with a line break or another sign that cannot be shown")
    lacking = [word for word in _SIZE if not any(word in other for other in words[1:])]
    if stage == "resize" and lacking:
        raise OwnMethodError(f"{token} is not told the size: give {' and '.join(lacking)} among its arguments")
    if stage != "resize" and len(lacking) < len(_SIZE):
        raise OwnMethodError(f"{token} has {' or '.join(_SIZE)} among its arguments, which only a resize is given")
    folder = os.getcwd()
    program = shutil.which(words[0])
    if program is None:
        raise OwnMethodError(f"{words[0]} is no program: {_why_not(words[0])}")
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
        return "it may not be executed (chmod +x)" if "/" in word else f"write ./{word} for the file in this folder"
    return "there is no such file" if "/" in word else "it is not found in PATH"


def _files(words: Sequence[str], folder: str) -> Iterator[str]:
    """The program, and the files among its arguments, as they are written there."""
    yield words[0]
    for word in words[1:]:
        for part in dict.fromkeys((word, word.partition("=")[2])):
            if os.path.isfile(os.path.join(folder, part)):
                yield part


def _shown(words: Iterable[str], folder: str) -> list[str]:
    """A program's words with names in place of the paths of this machine."""
    return [_without_folders(word, folder) for word in words]


def _without_folders(word: str, folder: str) -> str:
    if _is_path(word, folder):
        return os.path.basename(word.rstrip("/"))
    before, equals, after = word.partition("=")
    return f"{before}={_without_folders(after, folder)}" if equals else word


def _is_path(word: str, folder: str) -> bool:
    return os.path.isabs(word) or ("/" in word and os.path.exists(os.path.join(folder, word)))


def _sha256s(words: Sequence[str], folder: str) -> dict[str, str]:
    """The sha256 of the program, and of the files among its arguments, by name. Raises OSError."""
    found: dict[str, list[str]] = {}
    for file in dict.fromkeys(_files(words, folder)):
        found.setdefault(os.path.basename(file), []).append(_sha256(os.path.join(folder, file)))
    return {name: " ".join(digests) for name, digests in found.items()}


def _sha256(path: str) -> str:
    stat = os.stat(path)
    return _sha256_as_of(path, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(256)
def _sha256_as_of(path: str, *stat: int) -> str:
    """A file's digest, taken once for as long as the file is as it was: weights may be large."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
