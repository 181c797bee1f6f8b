"""A language model, its tokenizer and some rows of each task, made in code for the tests and for `harness.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

BOS, EOS = "<s>", "</s>"
# The most tokens that the model takes: LAMBADA's last row has more.
LONGEST = 200
_MERGES = (("Ġ", "t"), ("h", "e"), ("i", "n"), ("Ġt", "he"), ("e", "r"), ("Ġ", "a"), ("o", "n"), ("Ġ", "s"), ("e", "d"))
_WIDTH = 16

# The Hub's form, with what is awkward in real rows: spaces at the start and end of texts, letters of several bytes
# (lengths in characters and in bytes lead to different choices), WikiHow's markup, a sentence that ends right after its
# blank, a single word, a text that already begins with the BOS token, and one that is too long.
ROWS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "piqa": (
        {"goal": "How do I boil an egg?", "sol1": "In hot water.", "sol2": "In the fridge, for an hour.", "label": 0},
        {"goal": "dry a shirt", "sol1": " hang it in the sun ", "sol2": "put it under water", "label": 0},
        {"goal": "Öl reinigen", "sol1": "öööö", "sol2": "with sand", "label": 1},
        {"goal": "\u4e2d\u6587 text\n", "sol1": "\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e", "sol2": "a b", "label": 1},
        {"goal": '"quoted" {braces} \\ end ', "sol1": "it's {{one}}", "sol2": 'the "other"\nline', "label": 1},
    ),
    "lambada": (
        {"text": "the cat sat on the mat and then the dog sat on the mat"},
        {"text": 'She said,\n\n"I never liked  the sea." He had always loved the sea'},
        {"text": "Alone"},
        {"text": "in rain the sat and the"},  # which the model predicts
        {"text": "<s> in the end there was the end"},
        {"text": f"{'once more in the rain, ' * 40}on and on in the rain"},
    ),
    "hellaswag": (
        {
            "activity_label": "Roof shingle removal",
            "ctx_a": "A man is sitting on a roof.",
            "ctx_b": "he",
            "ctx": "A man is sitting on a roof. he",
            "endings": ["is ripping tiles off.", "sings.", "is the owner of a cube.", "starts pulling up roofing."],
            "label": "3",
        },
        {
            "activity_label": "Home and Garden",
            "ctx_a": "How to mow [header] a lawn [title] Cut the grass. [step] Take the mower",
            "ctx_b": "",
            "ctx": "How to mow [header] a lawn [title] Cut the grass. [step] Take the mower",
            "endings": ["out [substeps] now.", "[step] away  from it.", "in.", "to the shed. [title] Rest."],
            "label": "0",
        },
        {
            "activity_label": "Playing squash",
            "ctx_a": "Two men play.",
            "ctx_b": "the man in RED, of Paris,",
            "ctx": "Two men play. the man in RED, of Paris,",
            "endings": ["wins.", "loses the first of the sets.", "éééééééé.", "is on the other side."],
            "label": "1",
        },
    ),
    "winogrande": (
        {"sentence": "Sarah was better than Maria so _ won.", "option1": "Sarah", "option2": "Maria", "answer": "1"},
        {"sentence": "The bed and the chair: the _ was small.", "option1": "bed", "option2": "chair", "answer": "2"},
        {"sentence": "He met Ian and Bob, and it was _.", "option1": "Ian", "option2": "Bob ", "answer": "2"},
        {"sentence": "_ hears the_rest  of it.", "option1": "Ann", "option2": "The other one", "answer": "1"},
    ),
}


def write_rows(path: Path, rows: Sequence[object]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    return path


def tokenizer(*, begun: bool = True) -> Tokenizer:
    """Bytes, a few merges, and two special tokens; if `begun`, texts begin with the first of these."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *("".join(pair) for pair in _MERGES), BOS, EOS]
    made = Tokenizer(models.BPE({word: place for place, word in enumerate(words)}, list(_MERGES)))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([BOS, EOS])
    if begun:
        made.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, made.token_to_id(BOS))]
        )
    return made


def weights(vocabulary: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The model's weights: token embeddings (vocabulary, width), position embeddings (positions, width), and the output
    projection (width, vocabulary).
    """
    random = np.random.default_rng(19)
    shapes = ((vocabulary, _WIDTH), (LONGEST, _WIDTH), (_WIDTH, vocabulary))
    first, second, third = (random.normal(0, 1, shape).astype(np.float32) for shape in shapes)
    return first, second, third


def nodes() -> list[onnx.NodeProto]:
    """tanh(mean of all tokens so far + the last one + its position) · projection: causal, and depends on all tokens."""
    return [
        helper.make_node("Gather", ["tokens", "input_ids"], ["own"]),
        helper.make_node("CumSum", ["own", "along"], ["sum"]),
        helper.make_node("Shape", ["input_ids"], ["length"], start=1, end=2),
        helper.make_node("Slice", ["places", "zero", "length", "zero"], ["place"]),
        helper.make_node("Slice", ["counts", "zero", "length", "zero"], ["count"]),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("Add", ["mean", "own"], ["both"]),
        helper.make_node("Add", ["both", "place"], ["all"]),
        helper.make_node("Tanh", ["all"], ["state"]),
        helper.make_node("MatMul", ["state", "next"], ["logits"]),
    ]


def write_model(path: Path, vocabulary: int) -> Path:
    """Write the model, which fails on more than `LONGEST` tokens."""
    first, second, third = weights(vocabulary)
    values: dict[str, NDArray[np.generic]] = {
        "tokens": first,
        "places": second,
        "next": third,
        "along": np.array(1, np.int64),
        "zero": np.array([0], np.int64),
        "counts": np.arange(1, LONGEST + 1, dtype=np.float32)[:, None],
    }
    graph = helper.make_graph(
        nodes(),
        "causal",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", vocabulary])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
