"""Causal models as exporters write them: all return the plain model's logits; those that cannot be fed are named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipelines.errors import UsageError
from pipelines.evaluate.text.answers import Likelihood
from pipelines.evaluate.text.causal import CausalModel
from pipelines.evaluate.text.likelihood import Row, likelihoods, rows_of, taken
from pipelines.evaluate.text.tokens import Encoded
from tests.pipelines.evaluate.text import made

TEXTS = ([3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1], [8])
VOCABULARY = 12
Change = Callable[[onnx.GraphProto], None]


def plain() -> NDArray[np.float32]:
    """The logits of `TEXTS`, one after the other, in NumPy: of shape (all tokens, vocabulary)."""
    first, places, following = made.weights(VOCABULARY)
    found = []
    for text in TEXTS:
        own = first[text]
        mean = own.cumsum(0) / np.arange(1, len(text) + 1)[:, None]
        found.append(np.tanh(mean + own + places[: len(text)]) @ following)
    return np.concatenate(found)


def changed(path: Path, *changes: Change) -> Path:
    made.write_model(path, VOCABULARY)
    model = onnx.load(path)
    for change in changes:
        change(model.graph)
    onnx.save(model, path)
    return path


def node(graph: onnx.GraphProto, output: str) -> onnx.NodeProto:
    found: onnx.NodeProto = next(node for node in graph.node if output in node.output)
    return found


def put_before(graph: onnx.GraphProto, output: str, *nodes: onnx.NodeProto) -> None:
    place = list(graph.node).index(node(graph, output))
    for one in reversed(nodes):
        graph.node.insert(place, one)


def put_in(graph: onnx.GraphProto, name: str, kind: int, shape: Sequence[str | int]) -> None:
    graph.input.append(helper.make_tensor_value_info(name, kind, shape))


def masked(kind: int = TensorProto.INT64) -> Change:
    """The mean leaves out masked tokens."""

    def change(graph: onnx.GraphProto) -> None:
        put_in(graph, "attention_mask", kind, ["batch", "length"])
        graph.initializer.append(numpy_helper.from_array(np.array([2]), "two"))
        put_before(
            graph,
            "sum",
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "two"], ["wide"]),
            helper.make_node("Mul", ["own", "wide"], ["kept"]),
        )
        node(graph, "sum").input[0] = "kept"

    return change


def placed(graph: onnx.GraphProto) -> None:
    """Positions are an input."""
    put_in(graph, "position_ids", TensorProto.INT64, ["batch", "length"])
    node(graph, "place").CopyFrom(helper.make_node("Gather", ["places", "position_ids"], ["place"]))


def cached(kind: int = TensorProto.FLOAT) -> Change:
    """A cache whose length affects the logits, with its value, and the exporters' switch."""

    def change(graph: onnx.GraphProto) -> None:
        for name in ("past_key_values.0.key", "past_key_values.0.value"):
            put_in(graph, name, kind, ["batch", 2, "past", 4])
        put_in(graph, "use_cache_branch", TensorProto.BOOL, [1])
        put_before(
            graph,
            "mean",
            helper.make_node("Shape", ["past_key_values.0.key"], ["past"], start=2, end=3),
            helper.make_node("Cast", ["use_cache_branch"], ["switch"], to=TensorProto.INT64),
            helper.make_node("Add", ["past", "switch"], ["before"]),
            helper.make_node("Cast", ["before"], ["more"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["count", "more"], ["counted"]),
        )
        node(graph, "mean").input[1] = "counted"

    return change


def fixed(batch: str | int, length: str | int) -> Change:
    def change(graph: onnx.GraphProto) -> None:
        for value, last in ((graph.input[0], ()), (graph.output[0], (VOCABULARY,))):
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, [batch, length, *last]))

    return change


def small(graph: onnx.GraphProto) -> None:
    """Tokens of 32 bits, as an input with another name."""
    graph.input[0].CopyFrom(helper.make_tensor_value_info("tokens_in", TensorProto.INT32, ["batch", "length"]))
    for one in graph.node:
        one.input[:] = ["tokens_in" if name == "input_ids" else name for name in one.input]


def put_out(kind: int, name: str = "logits") -> Change:
    """Logits of another type or name, after another output."""

    def change(graph: onnx.GraphProto) -> None:
        graph.node.append(helper.make_node("Cast", ["logits"], ["cast"], to=kind))
        node(graph, "logits").output[0] = "floats"
        graph.node[-1].input[0], graph.node[-1].output[0] = "floats", name
        graph.output[0].CopyFrom(helper.make_tensor_value_info(name, kind, ["batch", "length", VOCABULARY]))
        graph.output.insert(0, helper.make_tensor_value_info("length", TensorProto.INT64, [1]))

    return change


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ([], 1e-5),
        ([masked(), placed, cached()], 1e-5),
        ([masked(TensorProto.BOOL), cached(TensorProto.FLOAT16)], 1e-5),
        ([masked(TensorProto.FLOAT), cached(TensorProto.BFLOAT16)], 1e-5),
        ([fixed(2, "length"), masked()], 1e-5),
        ([fixed(1, 20), masked(), placed], 1e-5),
        ([small, put_out(TensorProto.FLOAT, "scores")], 1e-5),
        ([put_out(TensorProto.FLOAT16)], 2**-11),
        ([put_out(TensorProto.BFLOAT16)], 2**-8),
    ],
)
def test_models_are_fed_alike(tmp_path: Path, changes: Sequence[Change], near: float) -> None:
    model = CausalModel(changed(tmp_path / "model.onnx", *changes))
    assert model.vocabulary == VOCABULARY
    together = model.feeds.batch or len(TEXTS)
    runs = [TEXTS[first : first + together] for first in range(0, len(TEXTS), together)]
    rows = [own[: len(text)] for run in runs for text, own in zip(run, model.run(run), strict=True)]
    expected = plain()
    assert np.abs(np.concatenate(rows).astype(np.float64) - expected).max() <= near * np.abs(expected).max()


def unnamed(graph: onnx.GraphProto) -> None:
    small(graph)
    placed(graph)


def strange(name: str, kind: int, shape: Sequence[str | int]) -> Change:
    return lambda graph: put_in(graph, name, kind, shape)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (strange("token_type_ids", TensorProto.INT64, ["batch", "length"]), "takes token_type_ids"),
        (strange("attention_mask", TensorProto.INT64, ["batch", 1, "length", "length"]), "takes attention_mask"),
        (strange("past_key_values.0.key", TensorProto.FLOAT, ["batch", 2, 8, 4]), r"past_key_values\.0\.key .*batchx2"),
        (strange("past_key_values.0.key", TensorProto.FLOAT, ["all heads", 4, "past"]), "to be left empty"),
        (fixed("batch", 1), r"takes input_ids \(tensor\(int64\) batchx1\), which is not the tokens of whole texts"),
        (unnamed, "has no input input_ids: it takes tokens_in, position_ids"),
        (lambda graph: graph.output[0].CopyFrom(graph.input[0]), "has no output logits"),
    ],
)
def test_an_input_that_cannot_be_fed_is_named(tmp_path: Path, change: Change, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        CausalModel(changed(tmp_path / "model.onnx", change))


def test_logits_of_only_the_last_token_are_refused(tmp_path: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        graph.initializer.append(numpy_helper.from_array(np.array([-1]), "last"))
        graph.node.append(helper.make_node("Gather", ["floats", "last"], ["logits"], axis=1))
        node(graph, "logits").output[0] = "floats"

    with pytest.raises(UsageError, match=r"logits of shape 1x1x12 for two tokens"):
        CausalModel(changed(tmp_path / "model.onnx", change))


def test_a_model_that_looks_at_later_tokens_is_refused(tmp_path: Path) -> None:
    """As BERT does, whose logits have the same shape."""

    def change(graph: onnx.GraphProto) -> None:
        put_before(graph, "mean", helper.make_node("ReduceMean", ["own"], ["of all"], axes=[1]))
        node(graph, "mean").CopyFrom(helper.make_node("Identity", ["of all"], ["mean"]))

    with pytest.raises(UsageError, match=r"model\.onnx is not a causal model"):
        CausalModel(changed(tmp_path / "model.onnx", change))


def test_rows_that_would_share_a_range_are_run_one_at_a_time(tmp_path: Path) -> None:
    """Quantisation on the fly takes its range from the whole batch: rows must run as they are deployed."""

    def change(graph: onnx.GraphProto) -> None:
        put_before(
            graph,
            "logits",
            helper.make_node("DynamicQuantizeLinear", ["state"], ["bits", "step", "zero_point"]),
            helper.make_node("DequantizeLinear", ["bits", "step", "zero_point"], ["rounded"]),
        )
        node(graph, "logits").input[0] = "rounded"

    model = CausalModel(changed(tmp_path / "model.onnx", change))
    assert model.alone
    rows = [Row(text[:-1], text[-1:]) for text in TEXTS if len(text) > 1]
    alone = [found for row in rows for found in likelihoods(model, [row], None, 1, lambda _: None)]
    assert likelihoods(model, rows, 8, 2, lambda _: None) == alone


def test_likelihoods_are_those_of_a_softmax(tmp_path: Path) -> None:
    """Compared with the definition, in NumPy: the product of the probabilities of two tokens."""
    model = CausalModel(changed(tmp_path / "model.onnx"))
    logits = plain()[: len(TEXTS[0])].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    greedy = int(logits[-1].argmax())
    expected = [
        Likelihood(float(np.log(probabilities[-1, greedy])), True),
        Likelihood(float(np.log(probabilities[-2, 6] * probabilities[-1, 0])), False),
    ]
    encoded = [Encoded(TEXTS[0], [greedy]), Encoded(TEXTS[0][:-1], [6, 0])]
    advanced: list[int] = []
    found = likelihoods(model, rows_of(encoded, 100), 1, 2, advanced.append)
    assert [one.is_greedy for one in found] == [one.is_greedy for one in expected]
    assert [one.log for one in found] == pytest.approx([one.log for one in expected], abs=1e-5)
    assert sum(advanced) == len(encoded)


def test_a_long_text_is_truncated_at_the_start() -> None:
    (row,) = rows_of([Encoded([1, 2, 3, 4], [5, 6])], 3)
    assert row == Row([3, 4, 5], [5, 6])


def test_a_model_that_fails_on_long_texts_is_given_shorter_ones(tmp_path: Path) -> None:
    model = CausalModel(changed(tmp_path / "model.onnx"))
    assert taken(model, [1] * 999) == made.LONGEST
    assert taken(model, [1] * 7) == 7
    with pytest.raises(UsageError, match=r"model\.onnx failed on 1 row of 1 token \("):
        taken(model, [VOCABULARY])


def test_nan_logits_are_refused(tmp_path: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        put_before(graph, "logits", helper.make_node("Sub", ["own", "own"], ["zeros"]))
        put_before(graph, "logits", helper.make_node("Div", ["zeros", "zeros"], ["nothing"]))
        node(graph, "logits").input[0] = "nothing"

    model = CausalModel(changed(tmp_path / "model.onnx", change))
    with pytest.raises(UsageError, match="logits that are NaN or infinite"):
        likelihoods(model, [Row([1, 2], [3])], None, 1, lambda _: None)
