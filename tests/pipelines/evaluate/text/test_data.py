"""Files of questions in the forms that are published, and the messages about files that are not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UsageError
from pipelines.evaluate.text.data import read_questions
from pipelines.evaluate.text.question import Questions
from pipelines.evaluate.text.tasks import TASKS, task_of
from tests.pipelines.evaluate.text.made import ROWS, write_rows

PIQA, HELLASWAG, WINOGRANDE = ROWS["piqa"][0], ROWS["hellaswag"][0], ROWS["winogrande"][0]


def read(folder: Path, task: str, *rows: Mapping[str, Any]) -> Questions:
    return read_questions(task, str(write_rows(folder / "rows.jsonl", rows)))


@pytest.mark.parametrize("task", TASKS)
def test_all_file_formats_give_the_same_questions(tmp_path: Path, task: str) -> None:
    rows = ROWS[task]
    lines = write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=1), "utf-8")
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + lines.read_bytes() + b"\r\n\n"))
    members = lines.read_bytes().splitlines(keepends=True)
    (tmp_path / "members.jsonl.gz").write_bytes(b"".join(map(gzip.compress, members)))
    parts = tmp_path / "parts"
    parts.mkdir()
    for place, part in enumerate((rows[:2], rows[2:])):
        pq.write_table(pa.Table.from_pylist(list(part)), parts / f"validation-{place:05d}-of-00002.parquet")
    logged = [{"doc_id": place, "doc": row, "target": "0", "filter": "none"} for place, row in enumerate(rows)]
    write_rows(tmp_path / "samples.jsonl", logged)
    expected = read_questions(task, str(lines))
    assert expected.keys == tuple(f"{place:06d}" for place in range(len(rows)))
    for name in ("list.json", "rows.jsonl.gz", "members.jsonl.gz", "parts", "samples.jsonl"):
        found = read_questions(task, str(tmp_path / name))
        assert found == expected
        assert found.sha256 == expected.sha256
    assert expected.first(1).sha256 != expected.sha256


FOUNDRY: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    # llm-foundry's row, and the Hub's row of the same question.
    "piqa": (
        {"query": "Question: boil an egg\n", "choices": ["in water", " on ice"], "gold": 1},
        {"goal": "boil an egg", "sol1": "in water", "sol2": "on ice", "label": 1},
    ),
    "lambada": ({"context": "on and on\nin the", "continuation": "rain"}, {"text": "on and on\nin the rain"}),
    "hellaswag": (
        {"query": "Squash: Two play. he", "choices": [" wins.", " sings.", " ends.", " is."], "gold": 2},
        {"activity_label": "Squash", "ctx": "Two play. he", "endings": ["wins.", "sings.", "ends.", "is."], "label": 2},
    ),
    "winogrande": (
        {"context_options": ["So Ann", "So Bob"], "continuation": "won.", "gold": 1},
        {"sentence": "So _ won.", "option1": "Ann", "option2": "Bob", "answer": "2"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", [name for name in TASKS if "llm-foundry" in task_of(name).FORMS[-1].protocol])
def test_llm_foundrys_rows_ask_the_same(tmp_path: Path, task: str) -> None:
    foundry, hub = (read(tmp_path, task, row) for row in FOUNDRY[task])
    assert list(foundry.asked) == list(hub.asked)
    assert "llm-foundry" in foundry.protocol
    assert "llm-foundry" not in hub.protocol


def test_the_second_sentence_begins_with_a_capital_if_the_row_has_it_separately(tmp_path: Path) -> None:
    whole = read(tmp_path, "hellaswag", HELLASWAG)
    assert whole.asked[0].requests[0].context == "Roof shingle removal: A man is sitting on a roof. He"
    assert whole.protocol == "lm-evaluation-harness 0.4.13"
    in_one = read(
        tmp_path, "hellaswag", {name: HELLASWAG[name] for name in HELLASWAG if name not in ("ctx_a", "ctx_b")}
    )
    assert in_one.asked[0].requests[0].context.endswith("on a roof. he")
    assert "begin as they are written" in in_one.protocol


@pytest.mark.parametrize(
    ("task", "row", "words"),
    [
        ("piqa", {"goal": "a", "sol1": "b", "label": 0}, r"rows\.jsonl, line 2 lacks sol2"),
        ("piqa", {**PIQA, "sol2": None}, "line 2: `sol2` is None, not text"),
        ("piqa", {**PIQA, "label": -1}, "line 2: `label` is -1: a test split"),
        ("piqa", {**PIQA, "label": 2}, "`label` is 2, not one of 0 to 1"),
        ("piqa", {**PIQA, "label": True}, "`label` is True, not one of 0 to 1"),
        ("piqa", {**PIQA, "label": 0.0}, r"`label` is 0\.0, not one"),
        ("hellaswag", {**HELLASWAG, "label": ""}, "`label` is '': a test split, which has no answers; give"),
        ("hellaswag", {**HELLASWAG, "endings": ["a", "b"]}, "not a list of 4 texts"),
        ("hellaswag", {**HELLASWAG, "endings": ["a", "b", "c", " "]}, r"`endings\[3\]` is ' '"),
        ("hellaswag", {**HELLASWAG, "endings": ["a", "b", "c", "[d]"]}, r"nothing outside \[brackets\]"),
        ("winogrande", {**WINOGRANDE, "sentence": "nothing is left out"}, "has no _ followed by text"),
        ("winogrande", {**WINOGRANDE, "answer": "0"}, "`answer` is '0', not one of 1 to 2"),
        ("lambada", {"text": "it ends in a "}, "ends in a space"),
        ("lambada", {"text": 7}, "`text` is 7, not text"),
    ],
)
def test_a_row_that_is_not_a_question_is_named(tmp_path: Path, task: str, row: Mapping[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read(tmp_path, task, ROWS[task][0], row)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("other", TASKS)
def test_a_file_of_another_task_is_recognised(tmp_path: Path, task: str, other: str) -> None:
    for row in (ROWS[other][0], *(() if task == other else FOUNDRY.get(other, ())[:1])):
        if task == other:
            assert read(tmp_path, task, row).task == task
        else:
            with pytest.raises(UsageError, match=f"looks like one of {other}: give --task {other}"):
                read(tmp_path, task, row)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no rows"),
        (b"\n \n", "has no rows"),
        (b"[1]", "row 1 is not an object with named fields"),
        (b'{"question": "a"}', r"line 1 lacks goal, sol1, sol2, label: it has question; piqa takes goal, sol1, sol2"),
        (b'{"goal": ', "line 1 is not JSON"),
        (b"\xff\xfe", "cannot be read"),
        (b"PAR1 and no more", "cannot be read"),
        (gzip.compress(b"{}" * 99, mtime=0)[:-9], "gzip data is truncated"),
        (b"\x1f\x8b no more", "cannot be read"),
        (gzip.compress(b"{}\n") + b"{}\n", "Not a gzipped file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        read_questions("piqa", str(tmp_path / "rows"))
    assert str(tmp_path / "rows") in str(caught.value)


def test_a_folder_has_one_split(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contains neither Parquet nor JSON lines"):
        read_questions("piqa", str(tmp_path))
    for split in ("train", "validation"):
        write_rows(tmp_path / f"{split}.jsonl", ROWS["piqa"])
    with pytest.raises(UsageError, match=r"contains train\.jsonl, validation\.jsonl: give one of them"):
        read_questions("piqa", str(tmp_path))
    with pytest.raises(UsageError, match="does not exist"):
        read_questions("piqa", str(tmp_path / "other"))
    part = tmp_path / "half" / "train-00001-of-00002.jsonl"
    part.parent.mkdir()
    write_rows(part, ROWS["piqa"])
    with pytest.raises(UsageError, match=r"has 1 of the 2 parts of train\.jsonl: download the others"):
        read_questions("piqa", str(part.parent))


def test_files_as_they_are_downloaded(data: Path) -> None:
    """Each of the real files is read as its own task, and is as long as its publisher says."""
    files = {"piqa": ("piqa", 1838), "lambada": ("lambada_openai", 1000), "hellaswag": ("hellaswag", 1000)}
    for task, (name, count) in {**files, "winogrande": ("winogrande", 1267)}.items():
        asked = read_questions(task, str(data / "text" / f"{name}.jsonl")).asked
        assert len(asked) == count
        assert len({question.requests for question in asked}) > 0.99 * count
