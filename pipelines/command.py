"""What the entries have in common: a dataclass as a command line, one-line errors, and errors as exit statuses.

The frozen options of a command *are* its command line: a field is a flag (`option`), or a group of flags that several
commands share (`group`), said once with its default, its help and how it is read. argparse reads the words, and words
the mistakes. Nothing that is shown steers a terminal: names and reasons may be from files that anybody made.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, Literal, NoReturn, TextIO, TypeVar, cast, get_args, get_origin, get_type_hints

from pipelines.errors import SysNoiseError
from pipelines.text import one_line, printable

T = TypeVar("T")
# The column at which --help says what a flag does, and its widest line.
_COLUMN, _WIDEST = 24, 100


def option(
    does: str = "",
    *,
    default: Any = None,
    factory: Callable[[], Any] | None = None,
    required: bool = False,
    flag: str = "",
    under: str = "",
    one_of: str = "",
    **said: Any,
) -> Any:
    """A field that is a flag and what it `does`, named after the field unless `flag` says otherwise.

    A `flag` without dashes is a place. The field's type says more: a bool is a switch, a tuple of strings may be given
    several times, a Literal has choices, a Path is read as one. `said` goes to argparse (`type`, `metavar`, `choices`).
    `under` begins a heading in --help, where a flag that has no words of its own stands in the next one's line. Exactly
    one of those that share a `one_of` must be given.
    """
    metadata = {"said": said, "does": does, "flag": flag, "under": under, "one_of": one_of, "required": required}
    if required or (flag and not flag.startswith("-")):
        return dataclasses.field(metadata=metadata)
    if factory:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def group(kind: Callable[[], Any], under: str = "", **helps: str) -> Any:
    """A field that is a dataclass of flags which several commands have; `helps` is what they do here, by field."""
    return dataclasses.field(default_factory=kind, metadata={"under": under, "helps": helps})


class Parser(argparse.ArgumentParser):
    """argparse for a command's options, with mistakes answered in one line instead of the usage."""

    def __init__(self, options: type[Any] | None = None, **words: Any) -> None:
        super().__init__(add_help=options is None, formatter_class=argparse.RawDescriptionHelpFormatter, **words)
        self._headings: dict[str, list[argparse.Action]] = {}
        self._heading = "options"
        self._alternatives: dict[str, Any] = {}
        self._usage: dict[str, list[str]] = {}
        if options:
            self._add_all(options)
            shown = self.add_argument("-h", "--help", action="help", help="show this, and stop")
            self._headings[self._heading].append(shown)

    def given(self, words: Sequence[str] | None = None) -> set[str]:
        """The fields that a command line gives, also where it gives what they are by default."""
        nothing = argparse.Namespace(**{action.dest: None for action in self._actions})
        return {name for name, value in vars(self.parse_args(words, nothing)).items() if value is not None}

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")

    def format_help(self) -> str:
        if not self._headings:
            return super().format_help()
        width = min(shutil.get_terminal_size().columns, _WIDEST)
        usage = " ".join("({})".format(" | ".join(some)) if len(some) > 1 else some[0] for some in self._usage.values())
        lines = [f"usage: {self.prog} {usage} [options]".replace("  ", " ")]
        lines += ["", *_wrap(self.description or "", width), ""]
        for heading, actions in self._headings.items():
            lines += [f"{heading}:", *_rows(actions, width)]
        lines.append("")
        for line in (self.epilog or "").splitlines():
            lines += _wrap(line, width, later="    ")
        return "\n".join(lines) + "\n"

    def _add_all(self, options: type[Any], helps: Mapping[str, str] = MappingProxyType({})) -> None:
        hints = get_type_hints(options)
        for field in dataclasses.fields(options):
            said, hint = field.metadata, hints[field.name]
            self._heading = said["under"] or self._heading
            if "said" in said:
                self._add(field, hint, helps.get(field.name, said["does"]))
            else:
                self._add_all(hint, said["helps"])

    def _add(self, field: dataclasses.Field[Any], hint: object, does: str) -> None:
        said = field.metadata
        flag = said["flag"] or "--" + field.name.replace("_", "-")
        words: dict[str, Any] = {"help": does, **_kind(hint), **said["said"]}
        if flag.startswith("-"):
            words |= {"dest": field.name, "default": default_of(field), "required": said["required"]}
        else:
            flag, words["metavar"] = field.name, flag
        where: argparse._ActionsContainer = self
        if one_of := said["one_of"]:
            if one_of not in self._alternatives:
                self._alternatives[one_of] = self.add_mutually_exclusive_group(required=True)
            where = self._alternatives[one_of]
        action = where.add_argument(flag, **words)
        self._headings.setdefault(self._heading, []).append(action)
        if said["required"] or one_of or not action.option_strings:
            self._usage.setdefault(one_of or flag, []).append(_written(action))


class _Another(argparse.Action):
    """One more of what may be given several times."""

    def __call__(self, parser: object, namespace: argparse.Namespace, value: Any, flag: str | None = None) -> None:
        setattr(namespace, self.dest, (*(getattr(namespace, self.dest) or ()), value))


def _kind(hint: object) -> dict[str, Any]:
    """What a field's type says to argparse."""
    for part in (hint, *get_args(hint)):
        if part is bool:
            return {"action": "store_true"}
        if part is Path:
            return {"type": Path}
        if get_origin(part) is Literal:
            return {"choices": get_args(part)}
    return {"action": _Another} if hint == tuple[str, ...] else {}


def default_of(field: dataclasses.Field[Any]) -> Any:
    """What a field is where nothing is given; None where something must be."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _written(action: argparse.Action) -> str:
    """A flag, or a place, as it is typed."""
    what = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    takes = [] if action.nargs == 0 else [str(what)]
    return " ".join([", ".join(action.option_strings), *takes]).strip()


def _rows(actions: Sequence[argparse.Action], width: int) -> list[str]:
    """What a heading's flags do. One without help shares the next one's line."""
    lines, beside = [], ""
    for action in actions:
        beside = f"{beside} {_written(action)}".strip()
        if not action.help:
            continue
        start = f"  {beside}".ljust(_COLUMN - 2) + "  "
        words = action.help.replace("%(default)s", str(action.default))
        lines += _wrap(words, width, start, " " * _COLUMN)
        beside = ""
    return lines


def _wrap(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def options_of(given: argparse.Namespace, options: type[T]) -> T:
    """The options that a command line gives."""
    hints = get_type_hints(options)
    values = {
        field.name: getattr(given, field.name) if "said" in field.metadata else options_of(given, hints[field.name])
        for field in dataclasses.fields(cast(Any, options))
    }
    return options(**values)


class _Printable(io.TextIOBase):
    """Standard output, without what could steer a terminal."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(printable(text))

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def closed(self) -> bool:
        return self._stream.closed


def exit_status(prog: str, work: Callable[[], int]) -> int:
    """Do the work; errors become a line on stderr and the exit status that stands for them."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to fail
    try:
        with contextlib.redirect_stdout(_Printable(sys.stdout)):
            status = work()
            sys.stdout.flush()
        return status
    except SysNoiseError as error:
        _tell(prog, str(error))
        return error.exit_status
    except BrokenPipeError:  # the reader (`head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = error.filename or "standard output"
        _tell(prog, f"{where}: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written cannot be, and has been said
        return 3
    except Exception as error:
        if os.environ.get("SYSNOISE_DEBUG"):
            raise
        name = type(error).__name__
        _tell(prog, f"{name}: {error} (unexpected: set SYSNOISE_DEBUG=1 to see where)")
        return 3
    except KeyboardInterrupt:
        _tell(prog, "stopped")
        return 3


def stop(signum: int, frame: FrameType | None) -> None:
    """Let a signal end a run as Ctrl-C does."""
    raise KeyboardInterrupt


def _tell(prog: str, what: str) -> None:
    print(f"{prog}: error: {one_line(what)}", file=sys.stderr)


def positive(text: str) -> int:
    """An argument that is a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def whole(text: str) -> int:
    """An argument that is a whole number."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)
