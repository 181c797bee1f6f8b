"""docs/models.md says what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from generators.registry import METHODS
from pipelines.evaluate.model.heads import HEADS
from pipelines.evaluate.model.named.export import TOLERANCE
from pipelines.evaluate.model.pieces import _IMAGES
from pipelines.evaluate.model.preprocessing import _KEYS
from pipelines.evaluate.model.readers.boxes import refusal
from pipelines.options import NAMED, is_named
from tests.documents import read, table

PAGE = "docs/models.md"
TEXT = read(PAGE)


def test_every_key_of_the_file_is_there_with_a_value_that_it_takes() -> None:
    found: dict[str, str] = {}
    for names, values, _ in table(PAGE, "key"):
        keys, examples = (re.findall(r"`(.+?)`", cell) for cell in (names, values))
        found |= dict(zip(keys, examples, strict=True))
    assert found.keys() == _KEYS.keys()
    for key, example in found.items():
        _KEYS[key](json.loads(example))


def test_every_head_is_there_with_the_noise_that_applies() -> None:
    found = {names.strip("`"): noise for names, _, noise in table(PAGE, "head")}
    assert list(found) == list(HEADS)
    boxes = [method for method in METHODS.values() if method.stage == "boxes"]
    for head, said in found.items():
        refused = [method.token for method in boxes if refusal(head, method.load_noise()())]
        assert said == (f"not {', '.join(f'`{token}`' for token in refused)}" if refused else "all")
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    assert f"one of {words[len(HEADS)]} kinds" in read("docs/score.md").replace("\n", " ")


def test_what_a_model_is_given_as_is_taken() -> None:
    given = [row[0].strip("`").split()[0] for row in table(PAGE, "`--model`")]
    assert {name.partition(":")[0] for name in given if is_named(name)} == set(NAMED)
    assert {Path(name).suffix for name in given if not is_named(name)} == {".onnx", ".tflite"}


def test_the_noise_of_language_models_is_the_precision_stage() -> None:
    tokens = [token for row in table(PAGE, "token") for token in re.findall(r"`(\w+)`", row[0])]
    assert tokens == [method.token for method in METHODS.values() if method.stage == "precision"]


def test_the_figures_are_those_of_the_code() -> None:
    text = TEXT.replace("\n", " ")
    assert f"more than {TOLERANCE:.0e} of the largest".replace("e-04", "e-4") in text
    assert f"a piece of {_IMAGES} images at most" in text
