"""A small language model for the tests of precision: tied embeddings, an RMSNorm, one head of attention, a mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
VOCABULARY, WIDTH, LONGEST = 19, 8, 12
LEAST = float(np.finfo(np.float32).min)


def language(*, masked: float = LEAST, gemm: bool = False, opset: int = 17, seed: int = 0) -> onnx.ModelProto:
    """From input_ids and attention_mask, (batch, length), to logits (batch, length, VOCABULARY).

    `masked` is the value added to masked positions. With `gemm`, the last layer uses the table itself, and takes one
    text at a time.
    """
    rng = np.random.default_rng(seed)
    constants: dict[str, Array] = {
        "table": rng.normal(scale=0.5, size=(VOCABULARY, WIDTH)).astype(np.float32),
        "places": rng.normal(scale=0.5, size=(LONGEST, WIDTH)).astype(np.float32),
        "ln": rng.uniform(0.5, 1.5, WIDTH).astype(np.float32),
        **{name: rng.normal(scale=0.3, size=(WIDTH, WIDTH)).astype(np.float32) for name in ("wq", "wk", "wv", "wo")},
        "bias": rng.normal(scale=0.1, size=WIDTH).astype(np.float32),
        "masked": np.array(masked, np.float32),
        **{"zero": np.array(0, np.int64), "one": np.array(1, np.int64), "axis": np.array([1], np.int64)},
        **{"two": np.array(2, np.float32), "eps": np.array(1e-6, np.float32), "none": np.array(0, np.float32)},
    }
    make = helper.make_node
    nodes = [
        make("Shape", ["input_ids"], ["size"]),
        make("Gather", ["size", "one"], ["length"], name="length"),
        make("Range", ["zero", "length", "one"], ["positions"]),
        make("Unsqueeze", ["positions", "axis"], ["column"]),
        make("LessOrEqual", ["positions", "column"], ["causal"]),
        make("Cast", ["attention_mask"], ["there"], to=TensorProto.BOOL),
        make("Unsqueeze", ["there", "axis"], ["row"]),
        make("And", ["causal", "row"], ["seen"]),
        make("Where", ["seen", "none", "masked"], ["mask"]),
        make("Gather", ["table", "input_ids"], ["tokens"], name="tokens"),
        make("Gather", ["places", "positions"], ["placed"], name="places"),
        make("Add", ["tokens", "placed"], ["x"], name="embedding"),
        make("Pow", ["x", "two"], ["squares"], name="squares"),
        make("ReduceMean", ["squares"], ["mean"], axes=[-1], name="mean"),
        make("Add", ["mean", "eps"], ["above"], name="above"),
        make("Sqrt", ["above"], ["root"], name="root"),
        make("Div", ["x", "root"], ["even"], name="even"),
        make("Mul", ["even", "ln"], ["normed"], name="normed"),
        make("MatMul", ["normed", "wq"], ["q"], name="q"),
        make("MatMul", ["normed", "wk"], ["k"], name="k"),
        make("MatMul", ["normed", "wv"], ["v"], name="v"),
        make("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        make("MatMul", ["q", "kt"], ["scores"], name="scores"),
        make("Add", ["scores", "mask"], ["looks"], name="looks"),
        make("Softmax", ["looks"], ["shares"], axis=-1, name="shares"),
        make("MatMul", ["shares", "v"], ["mixed"], name="mixed"),
        make("MatMul", ["mixed", "wo"], ["o"], name="o"),
        make("Add", ["o", "bias"], ["attended"], name="attended"),
        make("Add", ["x", "attended"], ["y"], name="residual"),
    ]
    if gemm:
        nodes += [
            make("Squeeze", ["y", "first"], ["rows"]),
            make("Gemm", ["rows", "table"], ["flat"], transB=1, name="head"),
            make("Unsqueeze", ["flat", "first"], ["logits"]),
        ]
        constants["first"] = np.array([0], np.int64)
    else:
        nodes += [
            make("Transpose", ["table"], ["turned"], perm=[1, 0]),
            make("MatMul", ["y", "turned"], ["logits"], name="head"),
        ]
    made = helper.make_graph(
        nodes,
        "language",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "t", VOCABULARY])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def texts(seed: int, count: int = 4) -> list[dict[str, Array]]:
    """Texts of several lengths, one at a time, as inputs of the model."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, VOCABULARY, (1, int(length))) for length in rng.integers(2, LONGEST + 1, count)]
    return [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in rows]


def logits(model: onnx.ModelProto | bytes, text: Mapping[str, Array], config: Mapping[str, str] | None = None) -> Array:
    """ONNX Runtime's output for a text."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found: Array = session.run(["logits"], dict(text))[0]
    return found
