"""The formats of outputs, and the message for each mistake."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.match import match
from pipelines.evaluate.match.outputs.files import find_outputs
from pipelines.evaluate.options import MatchOptions
from pipelines.shards import Shards
from tests.pipelines.evaluate.match.outputs.devices import pooled_model

KEY = "picture_003"
SCORES = np.arange(12, dtype=np.float32)


def npy(array: NDArray[Any], allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def npz(**arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **cast(Any, arrays))
    return file.getvalue()


def text(found: object) -> bytes:
    return json.dumps(found).encode()


FORMS: dict[str, dict[str, bytes]] = {
    "an array": {f"{KEY}.npy": npy(SCORES)},
    "an array named after the image": {f"{KEY}.JPEG.npy": npy(SCORES)},
    "a row": {f"{KEY}.csv": b",".join(b"%d" % n for n in range(12))},
    "a column": {f"{KEY}.csv": b"\n".join(b"%d" % n for n in range(12))},
    "a row under class numbers": {f"{KEY}.csv": b"\n".join([b",".join(b"%d" % n for n in range(12))] * 2)},
    "a list": {f"{KEY}.json": text([SCORES.tolist()])},
    "an object": {f"{KEY}.json": text({"logits": SCORES.tolist()})},
    "an archive": {f"{KEY}.npz": npz(logits=SCORES)},
    "one archive for all": {"all.npz": npz(**{KEY: SCORES})},
    "one object for all": {"all.json": text({KEY: SCORES.tolist()})},
    "one table for all": {
        "all.csv": f"key,{','.join(map(str, range(12)))}\n{KEY},0,1,2,3,4,5,6,7,8,9,10,11\n".encode()
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_all_formats_give_the_same_values(form: str, tmp_path: Path) -> None:
    for name, data in FORMS[form].items():
        (tmp_path / name).write_bytes(data)
    found = find_outputs(tmp_path, {KEY})
    assert found.keys == [KEY]
    value = found.read([KEY])[KEY]
    assert isinstance(value, dict)
    ((_, array),) = value.items()
    np.testing.assert_array_equal(array.squeeze(), SCORES)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pooled_model(tmp_path_factory.mktemp("model") / "pooled.onnx")


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({}, r"no \.npy, \.npz, \.json, \.csv file in .* \(it is empty\)"),
        ({"log.txt": b""}, r"\(it has log\.txt\): write outputs in one of these formats"),
        ({"a.npy": npy(SCORES), "b.npy": npy(SCORES)}, r"nothing in .* is named by a key .* has a\.npy, .*picture_000"),
        ({"a.npy": npy(SCORES)}, r"a\.npy is not named by a key of the shards: name files by key, or write one \.csv"),
        ({f"{KEY}.npy": npy(SCORES), f"{KEY}.csv": b"1"}, rf"{KEY}\.csv and {KEY}\.npy in .* are both for {KEY}"),
        ({f"{KEY}.npy": pickle.dumps(SCORES)}, "is a pickle, which is never loaded"),
        ({f"{KEY}.npz": pickle.dumps(SCORES)}, "is a pickle, which is never loaded"),
        ({f"{KEY}.npy": npy(np.array([{}]), allow_pickle=True)}, r"cannot be read \(|not real numbers"),
        ({f"{KEY}.npy": npy(SCORES)[:-5]}, r"cannot be read"),
        ({f"{KEY}.npy": npy(SCORES.astype(np.uint8))}, r"are uint8, .*: write \(value - zero_point\) \* scale"),
        ({f"{KEY}.npy": npy(SCORES[:5])}, rf"{KEY}'s 5 is none of the model's outputs .*: dump one of out 12"),
        ({f"{KEY}.probs.npy": npy(SCORES), f"{KEY}.out.npy": npy(SCORES)}, "output out for|output probs for"),
        ({f"{KEY}.npy": npy(SCORES * np.nan)}, "has NaN or infinity in 12 values"),
        ({f"{KEY}.npy": npy(SCORES[:0])}, "is empty"),
        ({f"{KEY}.csv": b"1,2\n3,4\n"}, "has 2 rows of 2: write one row or column of scores"),
        ({f"{KEY}.csv": b"cat,0.5\n"}, "are not all numbers"),
        ({f"{KEY}.csv": b""}, "is empty"),
        ({f"{KEY}.csv": b"x1,y1,score\n1,2,0.5\n"}, r"has the columns x1, y1, score: boxes need x1,y1,x2,y2"),
        ({f"{KEY}.csv": b"x1,y1,x2,y2,score,class\n1,2,3,4,0.5,80\n"}, "a class outside 0 to 79"),
        ({f"{KEY}.json": b"[1, 2"}, "cannot be read as JSON"),
        ({f"{KEY}.json": b"[" * 100_000}, "cannot be read as JSON"),
        ({f"{KEY}.json": text([[1, 2], [3]])}, "must be a list of numbers, or of boxes"),
        ({f"{KEY}.json": text({"logits": "high"})}, "logits must be a list of numbers"),
        ({f"{KEY}.json": text([])}, r"has boxes, and .* has classes: give the model's scores"),
        ({"all.csv": b"name,0,1\nx,1,2\n"}, "has no column `key`"),
        ({"all.csv": f"key,0,1\n{KEY},1\n".encode()}, "line 2: not the 3 columns of its header"),
        ({"all.csv": f"key,0,2\n{KEY},1,2\n".encode()}, "it needs `key` and a column for each class"),
        ({"all.csv": f"key,0\n{KEY},1\n{KEY},2\n".encode()}, f"has {KEY} more than once"),
        ({"all.json": text([1, 2])}, "is neither an object by key nor a COCO results list"),
        (
            {f"{KEY}.npy": npy(SCORES), "picture_004.npy": npy(SCORES[:3])},
            r"are 3, and other images' 12: write the same|are 12, and other images' 3|none of the model's outputs",
        ),
    ],
)
def test_a_mistake_has_one_line(
    files: dict[str, bytes], line: str, shards: Shards, model: Path, tmp_path: Path
) -> None:
    device = tmp_path / "device"
    device.mkdir()
    for name, data in files.items():
        (device / name).write_bytes(data)
    with pytest.raises(UsageError, match=line) as caught:
        match(MatchOptions(str(shards.root), outputs=device, model=str(model), output=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_missing_path_is_named(shards: Shards, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is neither a folder nor a file"):
        match(MatchOptions(str(shards.root), outputs=tmp_path / "nowhere", model=str(model)))
