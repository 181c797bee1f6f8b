"""What the entries share: a dataclass as a command line, one-line errors, and exit statuses.

A command's frozen options *are* its command line: each field is a flag (`option`) or a group of flags that several
commands share (`group`), declared once with its default, help and type. argparse parses the arguments and words the
mistakes. No output contains terminal control characters: names and reasons may come from untrusted files.
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
# The column at which --help describes a flag, and the longest line of --help.
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
    **argparse_options: Any,
) -> Any:
    """A field that is a flag, with its help text `does`; named after the field unless `flag` names it.

    A `flag` without dashes is a positional argument. The field's type decides how it is read: a bool is a switch, a
    tuple of strings may be given several times, a Literal has choices, a Path is converted. `argparse_options` (`type`,
    `metavar`, `choices`) go to argparse. `under` starts a heading in --help. A flag without help text shares the next
    flag's line. Exactly one of the flags with the same `one_of` must be given.
    """
    metadata = {
        "argparse": argparse_options,
        "does": does,
        "flag": flag,
        "under": under,
        "one_of": one_of,
        "required": required,
    }
    if required or (flag and not flag.startswith("-")):
        return dataclasses.field(metadata=metadata)
    if factory:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def group(kind: Callable[[], Any], under: str = "", **helps: str) -> Any:
    """A field that is a dataclass of flags shared by several commands; `helps` replaces their help texts, by field."""
    return dataclasses.field(default_factory=kind, metadata={"under": under, "helps": helps})


class Parser(argparse.ArgumentParser):
    """argparse for a command's options. A mistake is answered in one line, without the usage."""

    def __init__(self, options: type[Any] | None = None, **words: Any) -> None:
        super().__init__(add_help=options is None, formatter_class=argparse.RawDescriptionHelpFormatter, **words)
        self._headings: dict[str, list[argparse.Action]] = {}
        self._heading = "options"
        self._alternatives: dict[str, Any] = {}
        self._usage: dict[str, list[str]] = {}
        if options:
            self._add_all(options)
            self._headings[self._heading].append(
                self.add_argument("-h", "--help", action="help", help="show this help and exit")
            )

    def given(self, words: Sequence[str] | None = None) -> set[str]:
        """The fields that a command line sets, even if to their default."""
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
            declared, hint = field.metadata, hints[field.name]
            self._heading = declared["under"] or self._heading
            if _is_flag(field):
                self._add(field, hint, helps.get(field.name, declared["does"]))
            else:
                self._add_all(hint, declared["helps"])

    def _add(self, field: dataclasses.Field[Any], hint: object, does: str) -> None:
        declared = field.metadata
        flag = declared["flag"] or "--" + field.name.replace("_", "-")
        words: dict[str, Any] = {"help": does, **_kind(hint), **declared["argparse"]}
        if flag.startswith("-"):
            words |= {"dest": field.name, "default": default_of(field), "required": declared["required"]}
        else:
            flag, words["metavar"] = field.name, flag
        container: argparse._ActionsContainer = self
        if one_of := declared["one_of"]:
            if one_of not in self._alternatives:
                self._alternatives[one_of] = self.add_mutually_exclusive_group(required=True)
            container = self._alternatives[one_of]
        action = container.add_argument(flag, **words)
        self._headings.setdefault(self._heading, []).append(action)
        if declared["required"] or one_of or not action.option_strings:
            self._usage.setdefault(one_of or flag, []).append(_written(action))


class _Append(argparse.Action):
    """Adds a value to the tuple of a repeatable flag."""

    def __call__(self, parser: object, namespace: argparse.Namespace, value: Any, flag: str | None = None) -> None:
        setattr(namespace, self.dest, (*(getattr(namespace, self.dest) or ()), value))


def _is_flag(field: dataclasses.Field[Any]) -> bool:
    return "argparse" in field.metadata


def _kind(hint: object) -> dict[str, Any]:
    """argparse's options for a field of this type."""
    for part in (hint, *get_args(hint)):
        if part is bool:
            return {"action": "store_true"}
        if part is Path:
            return {"type": Path}
        if get_origin(part) is Literal:
            return {"choices": get_args(part)}
    return {"action": _Append} if hint == tuple[str, ...] else {}


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of a field; None if it is required."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _written(action: argparse.Action) -> str:
    """A flag or a positional argument as it is typed."""
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    takes = [] if action.nargs == 0 else [str(value)]
    return " ".join([", ".join(action.option_strings), *takes]).strip()


def _rows(actions: Sequence[argparse.Action], width: int) -> list[str]:
    """The lines of --help for the flags of a heading."""
    lines, flags = [], ""
    for action in actions:
        flags = f"{flags} {_written(action)}".strip()
        if not action.help:
            continue
        start = f"  {flags}".ljust(_COLUMN - 2) + "  "
        words = action.help.replace("%(default)s", str(action.default))
        lines += _wrap(words, width, start, " " * _COLUMN)
        flags = ""
    return lines


def _wrap(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)


def options_of(given: argparse.Namespace, options: type[T]) -> T:
    """Parsed arguments as an instance of the options."""
    hints = get_type_hints(options)
    values = {
        field.name: getattr(given, field.name) if _is_flag(field) else options_of(given, hints[field.name])
        for field in dataclasses.fields(cast(Any, options))
    }
    return options(**values)


class _Printable(io.TextIOBase):
    """Standard output without terminal control characters."""

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
    """Do the work and return its exit status; an error becomes a line on stderr and its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # don't fail if the terminal's encoding lacks a character
    try:
        with contextlib.redirect_stdout(_Printable(sys.stdout)):
            status = work()
            sys.stdout.flush()
        return status
    except SysNoiseError as error:
        _print_error(prog, str(error))
        return error.exit_status
    except BrokenPipeError:  # the reader (`head`) has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = error.filename or "standard output"
        _print_error(prog, f"{where}: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or flushing stdout at exit could fail again
        return 3
    except Exception as error:
        if os.environ.get("SYSNOISE_DEBUG"):
            raise
        name = type(error).__name__
        _print_error(prog, f"{name}: {error} (unexpected: set SYSNOISE_DEBUG=1 to see the traceback)")
        return 3
    except KeyboardInterrupt:
        _print_error(prog, "stopped")
        return 3


def stop(signum: int, frame: FrameType | None) -> None:
    """A signal handler that ends a run as Ctrl-C does."""
    raise KeyboardInterrupt


def _print_error(prog: str, message: str) -> None:
    print(f"{prog}: error: {one_line(message)}", file=sys.stderr)


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
