"""Noised copies of a language model: made once, and recorded like any other's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from generators.models import Feed
from generators.registry import METHODS
from pipelines.evaluate.model.noised import DoesNotApplyError, Images, NoisedModels
from tests.generators.models.languages import language, logits, texts


def test_a_language_model_is_noised_once_and_records_its_texts(tmp_path: Path) -> None:
    model, read = tmp_path / "tiny.onnx", []
    onnx.save(language(), model)

    def feeds() -> Iterator[Feed]:
        read.append(1)
        return iter(texts(1))

    models = NoisedModels(model, tmp_path / "made", lambda: Images(feeds, {"texts": ["000000"]}))
    tokens = [method.token for method in METHODS.values() if method.stage == "precision"]
    made = {token: models.noised((METHODS[token],)) for token in tokens}
    assert len({one.sha256 for one in made.values()}) == len(tokens)
    text = texts(2)[0]
    exact = logits(model.read_bytes(), text)
    for token, one in made.items():
        assert 0 < np.abs(logits(one.path.read_bytes(), text, one.config) - exact).max() < 0.5
        about = json.loads(one.path.with_suffix(".json").read_text())
        assert about["calibration"] == ({"texts": ["000000"]} if METHODS[token].calibrated else None)
        assert {change["method"] for change in about["changes"]} == {token}
    asked = len(read)
    assert {token: models.noised((METHODS[token],)) for token in tokens} == made
    assert len(read) == asked
    with pytest.raises(DoesNotApplyError, match="it has no upsampling"):
        models.noised((METHODS["upsample_bilinear"],))
