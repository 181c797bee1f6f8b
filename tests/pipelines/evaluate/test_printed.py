"""Printed arrays are read back exactly, and those with missing values are refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipelines.errors import UsageError
from pipelines.evaluate.class_tables import read_classes
from pipelines.evaluate.printed import numbers

PRINTED = {
    "str": lambda a: np.array2string(a, threshold=10**6),
    "repr": lambda a: np.array_repr(a),
    "narrow": lambda a: np.array2string(a, max_line_width=20, threshold=10**6),
    "separated": lambda a: np.array2string(a, separator=", ", threshold=10**6),
    "scalars": lambda a: str(list(a)),
    "bare scalars": lambda a: " ".join(map(repr, a)),
    "tensor": lambda a: f"tensor({a.tolist()}, device='cuda:0', grad_fn=<TopkBackward0>)",
    "nested": lambda a: repr(a[None]),
}
DTYPES = st.sampled_from(["int32", "int64", "float16", "float32", "float64"])


@pytest.mark.parametrize("form", PRINTED)
@settings(max_examples=15)
@given(data=st.data())
def test_printed_values_are_read_back(form: str, data: st.DataObject) -> None:
    found: Any = data.draw(arrays.arrays(DTYPES.flatmap(lambda name: st.just(np.dtype(name))), st.integers(1, 30)))
    with np.printoptions(precision=17, threshold=10**6):
        read = numbers(PRINTED[form](found))
    np.testing.assert_array_equal(np.array(read).astype(found.dtype), found)


@pytest.mark.parametrize("form", ["str", "repr", "scalars", "narrow", "tensor"])
@pytest.mark.parametrize("column", ["top5", "scores"])
def test_tables_may_have_printed_arrays(form: str, column: str, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    wanted = [random.permutation(1000)[:5] for _ in range(4)]
    rows = wanted
    if column == "scores":
        rows = [np.zeros(1000, np.float32) for _ in wanted]
        for row, best in zip(rows, wanted, strict=True):
            row[best] = [0.9, 0.5, 0.25, 0.125, 0.0625]
    with open(tmp_path / "x.csv", "w", newline="") as file, np.printoptions(threshold=10**6):
        csv.writer(file).writerows([("key", column), *((f"k{i}", PRINTED[form](row)) for i, row in enumerate(rows))])
    read = read_classes(tmp_path / "x.csv", [f"k{i}" for i in range(4)])
    assert read.tolist() == [best.tolist() for best in wanted]


def test_single_classes_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("key,pred\na,np.int64(3)\nb,tensor(7)\nc,[9]\n")
    assert read_classes(tmp_path / "x.csv", ["a", "b", "c"]).tolist() == [[3], [7], [9]]


@pytest.mark.parametrize("count", [1001, 5000])
def test_an_array_without_its_middle_is_refused(count: int, tmp_path: Path) -> None:
    with open(tmp_path / "x.csv", "w", newline="") as file:
        csv.writer(file).writerows([("key", "scores"), ("a", str(np.arange(count) / 7))])
    with pytest.raises(UsageError, match=r"printed with `\.\.\.` in place of their middle: write them in full"):
        read_classes(tmp_path / "x.csv", ["a"])


@pytest.mark.parametrize(
    "text", ["", "cat", "np.int64(x)", "1 2 three 4 5", '["a", "b", "c", "d", "e"]', "null 1 2 3 4"]
)
def test_other_text_is_refused(text: str, tmp_path: Path) -> None:
    with open(tmp_path / "x.csv", "w", newline="") as file:
        csv.writer(file).writerows([("key", "top5"), ("a", "1 2 3 4 5"), ("b", text)])
    with pytest.raises(UsageError, match="`top5`"):
        read_classes(tmp_path / "x.csv", ["a", "b"])
