"""Speech models of a few nodes, made in code: an auto-encoder of mels, a vocoder and an acoustic model of ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BANDS, HOP = 80, 256
Shape = Sequence[int | str]


def autoencoder(path: Path, *, turned: bool = False, rank: int = 12, kind: int = TensorProto.FLOAT) -> Path:
    """Projects each frame on `rank` random directions and back; `turned`: frames × bands."""
    down = np.linalg.qr(np.random.default_rng(3).normal(size=(BANDS, rank)))[0].astype(np.float32)
    shape: Shape = ("batch", "frames", BANDS) if turned else ("batch", BANDS, "frames")
    weights = {"down": down if turned else down.T, "up": down.T if turned else down}
    order = [["mel", "down"], ["low", "up"]] if turned else [["down", "mel"], ["up", "low"]]
    nodes = [helper.make_node("MatMul", order[0], ["low"]), helper.make_node("MatMul", order[1], ["out"])]
    return save(path, nodes, weights, [("mel", kind, shape)], [("out", kind, shape)])


def vocoder(path: Path) -> Path:
    """A waveform of `HOP` samples per frame: a fixed sound for each band, as loud as the band."""
    time = np.arange(2 * HOP) / 22_050
    frequencies = np.linspace(100, 7000, BANDS)[:, None]
    kernel = (np.hanning(2 * HOP) * np.sin(2 * np.pi * frequencies * time) / BANDS).astype(np.float32)[:, None, :]
    nodes = [
        helper.make_node("Exp", ["mel"], ["loud"]),
        helper.make_node("ConvTranspose", ["loud", "kernel"], ["wave"], strides=[HOP], pads=[HOP // 2, HOP // 2]),
    ]
    takes, gives = ("mel", TensorProto.FLOAT, (1, BANDS, "T")), ("wave", TensorProto.FLOAT, (1, 1, "N"))
    return save(path, nodes, {"kernel": kernel}, [takes], [gives])


def acoustic(path: Path, table: np.ndarray[Any, Any]) -> Path:
    """A frame of `table` (ids, bands) for each id, after an output with twice that; also takes lengths."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["mel"]),
        helper.make_node("Add", ["mel", "mel"], ["rough"]),
        helper.make_node("Identity", ["ids_lengths"], ["counts"]),
    ]
    takes = [("ids", TensorProto.INT64, ("batch", "length")), ("ids_lengths", TensorProto.INT64, ("batch",))]
    mel = (1, "length", BANDS)
    gives = [("rough", TensorProto.FLOAT, mel), ("mel", TensorProto.FLOAT, mel), ("counts", TensorProto.INT64, ("b",))]
    return save(path, nodes, {"table": table.astype(np.float32)}, takes, gives)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Any],
    takes: Sequence[tuple[str, int, Shape]],
    gives: Sequence[tuple[str, int, Shape]],
) -> Path:
    """Write a model with these nodes."""
    graph = helper.make_graph(
        nodes,
        "speech",
        [helper.make_tensor_value_info(*one) for one in takes],
        [helper.make_tensor_value_info(*one) for one in gives],
        [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
