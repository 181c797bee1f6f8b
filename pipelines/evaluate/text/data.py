"""Reads files of questions as they are downloaded: JSON lines, a JSON list or Parquet, gzipped or not, or a folder with
the parts of one split.

The first bytes of a file decide its format. Refuses rows that are not questions of the task, naming the row, and files
that are too large to hold in memory.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.untrusted import parse_json, read_at_most
from pipelines.errors import UsageError
from pipelines.evaluate.text.question import Question, Questions
from pipelines.evaluate.text.row import Asked, Form, Row, RowError, UnlabelledError
from pipelines.evaluate.text.tasks import TASKS, task_of
from pipelines.store import Place, place_of
from pipelines.text import first_line

# Bytes of a file, unpacked: HellaSwag's 40,000 training questions take 47 MB as JSON lines.
_LARGEST = 2**30
_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".gz")
# The Hub's suffix for the parts of a split: `validation-00000-of-00002.parquet`.
_PART = re.compile(r"-\d+(?:-of-(\d+))?(?=\.)")


class _Placed(NamedTuple):
    """A row, and where it is, for messages."""

    where: str
    row: Row


def read_questions(task: str, data: str) -> Questions:
    """The questions of a task (one of `TASKS`) in a file, or in a folder of one split's parts; a path or URI.

    Raises UsageError if there are none, and for the first row that is not a question.
    """
    rows = [placed for place in _files(place_of(data, "--data")) for placed in _rows(place)]
    if not rows:
        raise UsageError(f"--data {data} has no rows: give a file of {task}")
    form = _form_of(task, rows[0])
    asked = [Question(f"{index:06d}", *_asked(form, placed)) for index, placed in enumerate(rows)]
    return Questions(task, task_of(task).METRICS, form.protocol, asked)


def _form_of(task: str, first: _Placed) -> Form:
    """The form of the task that matches a file's first row."""
    forms = task_of(task).FORMS
    fitting = [form for form in forms if set(form.fields) <= set(first.row)]
    if not any(_reads(form, first.row) for form in fitting):
        other = next((name for name in TASKS if any(_reads(form, first.row) for form in task_of(name).FORMS)), None)
        if other is not None:
            raise UsageError(
                f"{first.where} is not a question of {task}, but looks like one of {other}: give --task {other}"
            )
    if fitting:
        return fitting[0]
    nearest = max(forms, key=lambda form: len(set(form.fields) & set(first.row)))
    lacking = [name for name in nearest.fields if name not in first.row]
    taken = ", or ".join(", ".join(form.fields) for form in forms)
    raise UsageError(
        f"{first.where} lacks {', '.join(lacking)}: it has {', '.join(map(str, first.row)) or 'nothing'}; {task} takes "
        f"{taken}"
    )


def _reads(form: Form, row: Row) -> bool:
    """Whether a row has this form, apart from its label."""
    try:
        form.read(row)
    except UnlabelledError:
        return True
    except (RowError, KeyError):
        return False
    return True


def _asked(form: Form, placed: _Placed) -> Asked:
    try:
        return form.read(placed.row)
    except UnlabelledError as error:
        raise UsageError(f"{placed.where}: {error}; give the validation split") from None
    except RowError as error:
        raise UsageError(f"{placed.where}: {error}") from None
    except KeyError as error:
        raise UsageError(f"{placed.where} lacks {error.args[0]}, which the first row has: repair that row") from None


def _files(place: Place) -> list[Place]:
    """The file itself, or the files in a folder, in order."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UsageError(f"--data {place} does not exist: give a file of questions")
    names = [name for name in place.files() if name.lower().endswith(_SUFFIXES) and not name.startswith(".")]
    splits = {_PART.sub("", name) for name in names}
    if len(splits) != 1:
        seen = (
            f"contains {', '.join(sorted(splits))}: give one of them"
            if splits
            else "contains neither Parquet nor JSON lines: give a file of questions"
        )
        raise UsageError(f"--data {place} {seen}")
    stated = {int(found[1]) for name in names if (found := _PART.search(name)) and found[1]}
    if stated and stated != {len(names)}:
        raise UsageError(
            f"--data {place} has {len(names)} of the {max(stated)} parts of {splits.pop()}: download the others"
        )
    return [place / name for name in sorted(names)]


def _rows(place: Place) -> Iterator[_Placed]:
    """The rows of a file; if it is a log of samples by lm-evaluation-harness, the documents in it."""
    try:
        with place.open() as file:
            content = _unpacked(read_at_most(file, _LARGEST))
        for where, row in _parsed(content):
            if not isinstance(row, dict):
                raise ValueError(f"{where} is not an object with named fields")
            logged = row.get("doc")
            yield _Placed(f"{place}, {where}", logged if isinstance(logged, dict) and "doc_id" in row else row)
    except (OSError, ValueError, zlib.error, pa.ArrowException) as error:
        raise UsageError(f"--data {place} cannot be read ({first_line(error)})") from None


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with io.BufferedReader(gzip.GzipFile(fileobj=io.BytesIO(content))) as file:  # reads all gzip members
            return read_at_most(file, _LARGEST)
    except EOFError:
        raise ValueError("its gzip data is truncated") from None


def _parsed(content: bytes) -> Iterable[tuple[str, object]]:
    """Each row, after where it is."""
    if content.startswith(b"PAR1"):
        table = pq.read_table(io.BytesIO(content))
        return ((f"row {number}", row) for number, row in enumerate(table.to_pylist(), 1))
    text = content.decode("utf-8-sig")
    if text.lstrip().startswith("["):
        return ((f"row {number}", row) for number, row in enumerate(parse_json(text), 1))
    lines = enumerate(text.split("\n"), 1)  # not splitlines(): a text may contain U+2028
    return ((f"line {number}", _parsed_line(number, line)) for number, line in lines if line.strip())


def _parsed_line(number: int, line: str) -> object:
    try:
        return parse_json(line)
    except ValueError as error:
        raise ValueError(f"line {number} is not JSON: {first_line(error)}") from None
