"""How fast a model runs over shards, compared with ONNX Runtime's own speed.

    python -m benchmarks.infer [--source TREE] [--model FILE ...] [--rounds N]

Images per second of `predict`, which reads tars, decodes, normalises, runs the model and stores predictions, against a
bare loop: one session with a thread for each CPU, over tensors in memory, in batches of the size in the model's TOML.
The models, for 224x224 pixels and with their TOMLs next to them, are those given, or else SqueezeNet 1.0 (Iandola et
al., 2016) with random weights, once with the original channels and once with three times as many. Rounds of both take
turns, and the median of their ratios counts. One-time costs (loading a model, a first image) count for neither: they
are the same for few images and for more, and only the difference is measured.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from benchmarks import running
from pipelines.evaluate.model.cells import Cell, as_it_is
from pipelines.evaluate.model.inputs import Inputs
from pipelines.evaluate.model.predict import predict
from pipelines.evaluate.model.preprocessing import read_preprocessing
from pipelines.evaluate.model.runtimes import Input
from pipelines.evaluate.model.workers import OnRay, Workers
from pipelines.options import Cluster
from pipelines.shards import Shards, open_shards
from pipelines.text import table
from pipelines.work.cluster import Ray

Batch = NDArray[np.float32]
_SIDE = 224
_TAKES = Input("", np.dtype(np.float32), None, _SIDE, _SIDE)
# The least seconds that the bare loop of a round should take.
_SECONDS = 4.0
_IN_MEMORY = 64  # tensors
_TOML = (
    'mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\nscale = "1/255"\nchannels = "rgb"\nlayout = "nchw"\n'
)


def main() -> None:
    """Measure, and print a table."""
    parser = running.parser("Running a model over shards against a bare loop.")
    parser.add_argument("--model", type=Path, nargs="+", default=[], help="ONNX classifiers, their TOMLs next to them")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    measure(running.photographs(given.source), given.model, given.rounds)


def measure(images: Sequence[bytes], models: Sequence[Path] = (), rounds: int = 5) -> list[running.Figure]:
    """Print a table; returns the figures that have aims."""
    cpus = len(os.sched_getaffinity(0))
    rows: list[Sequence[str]] = [("model", "images", "bare loop, images/s", "over shards, images/s", "ratio")]
    found = []
    with running.temporary() as folder, contextlib.closing(Ray(Cluster())) as ray:
        workers = OnRay(ray)
        for model in models or _networks(Path(folder)):
            loop = _Loop(model, cpus)
            few = max(32, len(images))
            counts = few, few + max(64, round(_SECONDS / loop.seconds))
            shards = [_shards(images, count, Path(folder, str(count))) for count in counts]
            tensors = loop.tensors(shards[0])
            more = counts[1] - counts[0]
            bare, ours = [], []
            for number in range(rounds):
                bare.append(loop.run(tensors, more))
                once, all_ = (
                    _predicted(each, model, Path(folder, f"{model.stem}-{number}"), workers) for each in shards
                )
                ours.append(all_ - once)
            ratio = statistics.median(theirs / mine for theirs, mine in zip(bare, ours, strict=True))
            speeds = (f"{more / statistics.median(seconds):,.1f}" for seconds in (bare, ours))
            rows.append((model.stem, f"{more:,}", *speeds, f"{ratio:.2f}"))
            found.append(running.Figure(f"{model.stem}: images/s over shards / a bare ONNX Runtime loop", ratio, 0.95))
    print(table(rows, frozenset(range(1, 5))))
    return found


class _Loop:
    """A bare ONNX Runtime loop over a model; `seconds` is the time for one image."""

    def __init__(self, model: Path, cpus: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpus
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._preprocessing = read_preprocessing(model, {})
        batch = np.zeros(
            (self._preprocessing.batch, *Inputs(_SIDE, _SIDE, self._preprocessing, _TAKES).batch(1).shape[1:])
        )
        self.run([batch.astype(np.float32)], 5)
        self.seconds = self.run([batch.astype(np.float32)], 20) / 20

    def tensors(self, shards: Shards) -> list[Batch]:
        """Batches of a shard's first images."""
        size, inputs = self._preprocessing.batch, Inputs(_SIDE, _SIDE, self._preprocessing, _TAKES)
        stored = shards.stored(shards.reference.name)
        found: list[Batch] = []
        while len(found) * size < _IN_MEMORY and (some := list(islice(stored, size))):
            found.append(inputs.batch(len(some)))
            for one, into in zip(some, found[-1], strict=True):
                inputs.place(one.key, {}, shards.pixels(one), into)
        return [batch for batch in found if len(batch) == size]

    def run(self, batches: Sequence[Batch], images: int) -> float:
        """Seconds for `images` images."""
        began = time.monotonic()
        for number in range(0, images, len(batches[0])):
            self._session.run(None, {self._input: batches[number // len(batches[0]) % len(batches)]})
        return time.monotonic() - began


def _shards(images: Sequence[bytes], count: int, folder: Path) -> Shards:
    if not folder.exists():
        source = running.lay_out(images, count, folder / "source")
        running.generate(*running.imagenet(source, folder / "out", "reference"), "--size", _SIDE)
    return open_shards(folder / "out")


def _predicted(shards: Shards, model: Path, folder: Path, workers: Workers) -> float:
    """Seconds to predict all images of some shards, including loading."""
    output = folder / shards.root.parent.parent.name
    began = time.monotonic()
    own = as_it_is(model)
    cells = [Cell(variant, own) for variant in shards.variants.values()]
    predict(shards, cells, read_preprocessing(model, {}), output, workers=workers)
    return time.monotonic() - began


def _networks(folder: Path) -> list[Path]:
    """SqueezeNet 1.0 for 224x224 pixels, and one with three times the channels, which takes nine times as long."""
    found = []
    for name, width in (("squeezenet", 1), ("squeezenet_wide", 3)):
        path = folder / f"{name}.onnx"
        path.write_bytes(_Squeezenet(width).model)
        path.with_suffix(".toml").write_text(_TOML)
        found.append(path)
    return found


class _Squeezenet:
    """The network of the paper's table 1, with random weights from a fixed seed."""

    def __init__(self, width: int) -> None:
        self._random = np.random.default_rng(0)
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []
        self._last, self._channels = "image", 3
        self._convolve(96 * width, 7, strides=[2, 2])
        for fires in (((16, 64), (16, 64), (32, 128)), ((32, 128), (48, 192), (48, 192), (64, 256)), ((64, 256),)):
            self._add("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
            for squeezed, expanded in fires:
                self._fire(squeezed * width, expanded * width)
        self._convolve(1000, 1)
        self._add("GlobalAveragePool")
        graph = helper.make_graph(
            self._nodes,
            "squeezenet",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, _SIDE, _SIDE])],
            [helper.make_tensor_value_info(self._last, TensorProto.FLOAT, None)],
            self._weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        self.model: bytes = made.SerializeToString()

    def _fire(self, squeezed: int, expanded: int) -> None:
        self._convolve(squeezed, 1)
        squeezed_to, channels = self._last, self._channels
        parts = []
        for kernel in (1, 3):
            self._last, self._channels = squeezed_to, channels
            self._convolve(expanded, kernel, pads=[kernel // 2] * 4)
            parts.append(self._last)
        self._add("Concat", inputs=parts, axis=1)
        self._channels = 2 * expanded

    def _convolve(self, channels: int, kernel: int, **attributes: Sequence[int]) -> None:
        shape = (channels, self._channels, kernel, kernel)
        weights = self._random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        self._weights.append(numpy_helper.from_array(weights, f"weights{len(self._weights)}"))
        self._add("Conv", inputs=[self._last, self._weights[-1].name], **attributes)
        self._add("Relu")
        self._channels = channels

    def _add(self, operator: str, inputs: Sequence[str] = (), **attributes: Any) -> None:
        output = f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs or [self._last], [output], **attributes))
        self._last = output


if __name__ == "__main__":
    main()
