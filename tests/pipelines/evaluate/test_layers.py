"""`score.py layers`: ratios against NumPy's, of tensors extracted by ONNX's own tools and computed by ONNX Runtime."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from generators.models.taps import Tensor
from pipelines.errors import UsageError
from pipelines.evaluate.layers import layers
from pipelines.evaluate.layers.answer import Answer
from pipelines.evaluate.layers.measure import Layer, measure
from pipelines.evaluate.layers.page import page
from pipelines.evaluate.layers.ratio import Ratio, ratio
from pipelines.evaluate.model.cells import Cell, as_it_is
from pipelines.evaluate.options import LayersOptions
from pipelines.shards import open_shards

Array = NDArray[Any]
COUNT = 5
TOML = 'mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\nscale = "1/255"\nchannels = "rgb"\nlayout = "nchw"\n'
TENSORS = ["image", "c1", "r1", "p1", "c2", "u", "sum", "g", "f", "out"]
# A value so large that int8 with one scale rounds its neighbours to 0.
OUTLIER = 3000.0


def save(path: Path, nodes: list[onnx.NodeProto], weights: Mapping[str, Array], outputs: int) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    path.with_suffix(".toml").write_text(TOML)
    return path


def draw(rng: np.random.Generator, *shape: int) -> Array:
    drawn: Array = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    return drawn.astype(np.float32)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    linear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], name="first", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], name="pool", kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], name="second", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Resize", ["c2", "", "twice"], ["u"], name="up", **linear),
        helper.make_node("Add", ["u", "bias"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["out"], name="last", transB=1),
    ]
    weights = {"w1": draw(rng, 8, 3, 3, 3), "w2": draw(rng, 12, 8, 3, 3), "w3": draw(rng, 10, 12)}
    weights |= {"twice": np.array([1, 1, 2, 2], np.float32), "bias": draw(rng, 12, 1, 1)}
    return save(tmp_path_factory.mktemp("net") / "net.onnx", nodes, weights, 10)


def stored(folder: Path) -> dict[str, Array]:
    """A variant's images as the network's input, by key."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                if file is not None and member.name.endswith(".png"):
                    pixels = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"), np.float64)
                    found[member.name[:-4]] = ((pixels / 255 - 0.5) / 0.25).transpose(2, 0, 1)[None].astype(np.float32)
    return found


def last(images: Mapping[str, Array]) -> list[Array]:
    keys = sorted(images, key=lambda key: hashlib.sha256(key.encode()).hexdigest())[-COUNT:]
    return [images[key] for key in keys]


def put_out(model: Path | onnx.ModelProto, names: list[str], given: Mapping[str, Array]) -> list[Array]:
    """Any tensors of a model, run without optimisation."""
    proto = onnx.load(model) if isinstance(model, Path) else model
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, dict(given))
    return found


def counterpart(noised: Path, tensor: str) -> str:
    """The value that replaces a tensor in a noised model, by the names that the passes give."""
    names = {name for node in onnx.load(noised).graph.node for name in node.output}
    return next((name for name in (f"{tensor}_DequantizeLinear_Output", f"{tensor}_rounded") if name in names), tensor)


def expected(reference: list[Array], noised: list[Array]) -> float:
    signal = sum(float((one.astype(np.float64) ** 2).sum()) for one in reference)
    noise = sum(float(((a.astype(np.float64) - b) ** 2).sum()) for a, b in zip(reference, noised, strict=True))
    return 10 * math.log10(signal / noise) if noise else math.inf


def options(shards: Path, model: Path, output: Path, *variants: str, images: int | None = COUNT) -> LayersOptions:
    made = LayersOptions(str(shards), str(model), variants, images=images, output=str(output))
    return replace(made, noise=replace(made.noise, calibration=20))


def read(output: Path) -> dict[str, dict[str, dict[str, str]]]:
    """The rows of `layers.csv` by variant and tensor."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    with open(output / "layers.csv", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["variant"], {})[row["tensor"]] = row
    return found


MEASURED = ("int8", "fp16", "upsample_nearest", "ceil_mode", "pil_nearest", "pil_nearest+int8")


@pytest.fixture(scope="module")
def output(noised: Path, net: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("report")
    assert layers(options(noised, net, output, *MEASURED)) == 0
    return output


@pytest.mark.parametrize("variant", [name for name in MEASURED if name != "ceil_mode"])
def test_the_ratio_of_every_tensor_is_numpy_s(variant: str, output: Path, noised: Path, net: Path) -> None:
    noise = variant.removeprefix("pil_nearest").removeprefix("+")
    pixels = "pil_nearest" if variant.startswith("pil_nearest") else "pil_bilinear"
    model = output / "models" / "net" / f"{noise}.onnx" if noise else net
    names = [counterpart(model, name) for name in TENSORS]
    mine, theirs = last(stored(noised / "pil_bilinear")), last(stored(noised / pixels))
    reference = [put_out(net, TENSORS, {"image": image}) for image in mine]
    found = [put_out(model, names, {"image": image}) for image in theirs]
    rows = read(output)[variant]
    assert list(rows) == TENSORS
    for place, name in enumerate(TENSORS):
        wanted = expected([own[place] for own in reference], [own[place] for own in found])
        assert float(rows[name]["snr_db"]) == pytest.approx(wanted, abs=0.02), name
        if place:  # the net is a chain
            before, after = (float(rows[one]["snr_db"]) for one in TENSORS[place - 1 : place + 1])
            drop = 0.0 if before == after else before - after
            assert float(rows[name]["drop_db"]) == pytest.approx(drop, abs=0.01)


def quantised(values: Array, scale: Array) -> Array:
    return (np.clip(np.rint(values / scale), -128, 127) * scale).astype(np.float32)


def test_a_node_alone_and_its_effect_are_those_of_its_own_rounding(output: Path, noised: Path, net: Path) -> None:
    proto = onnx.load(output / "models" / "net" / "int8.onnx")
    made = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(net).graph.initializer}
    scales = np.abs(weights["w2"]).max(axis=(1, 2, 3), keepdims=True) / np.float32(127)
    rounded = quantised(weights["w2"], scales)
    plain, alone = (onnx.shape_inference.infer_shapes(onnx.load(net)) for _ in range(2))
    for tensor in alone.graph.initializer:
        if tensor.name == "w2":
            tensor.CopyFrom(numpy_helper.from_array(rounded, "w2"))
    # Only the second convolution is noisy: from its input on.
    behind = [onnx.utils.Extractor(model).extract_model(["p1"], ["c2", "out"]) for model in (plain, alone)]
    pairs = []
    for image in last(stored(noised / "pil_bilinear")):
        (pool,) = put_out(net, ["p1"], {"image": image})
        own = quantised(pool, made["p1_scale"])
        pairs.append([put_out(model, ["c2", "out"], {"p1": x}) for model, x in zip(behind, (pool, own), strict=True)])
    row = read(output)["int8"]["c2"]
    for place, column in enumerate(("alone_db", "effect_db")):
        wanted = expected([one[place] for one, _ in pairs], [two[place] for _, two in pairs])
        assert float(row[column]) == pytest.approx(wanted, abs=0.02), column
    assert float(row["weights_db"]) == pytest.approx(expected([weights["w2"]], [rounded]), abs=0.01)
    assert row["node"] == "second"
    assert row["op"] == "Conv"


def test_other_shapes_are_not_compared_and_tensors_before_them_are_exact(output: Path) -> None:
    rows = read(output)["ceil_mode"]
    assert {rows[name]["snr_db"] for name in ("image", "c1", "r1")} == {"inf"}
    for name in ("p1", "c2", "u", "sum"):
        assert rows[name]["snr_db"] == rows[name]["drop_db"] == rows[name]["effect_db"] == ""
        assert rows[name]["note"].startswith("another shape: 1×")
    # 62 rows and columns give 30 windows of 3 with a stride of 2, or 31.
    assert rows["p1"]["shape"] == "1×8×30×30"
    assert rows["p1"]["note"] == "another shape: 1×8×31×31"
    assert 0 < float(rows["out"]["snr_db"]) < math.inf


def test_the_layer_that_int8_ruins_is_named_first(
    noised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its input has a channel of large values, which its weights make small again: in float, nothing is wrong."""
    rng = np.random.default_rng(11)
    names = [f"layer{number}" for number in range(6)]
    nodes, tensor = [], "image"
    weights: dict[str, Array] = {}
    for number, name in enumerate(names):
        weights[f"w{number}"] = draw(rng, 8, 8 if number else 3, 3, 3)
        nodes.append(helper.make_node("Conv", [tensor, f"w{number}"], [f"c{number}"], name=name, pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"], name=f"relu{number}"))
        tensor = f"r{number}"
    weights["w2"][5] *= OUTLIER
    weights["w3"][:, 5] /= OUTLIER
    nodes.append(helper.make_node("ReduceMean", [tensor], ["out"], axes=[2, 3], keepdims=0))
    model = save(tmp_path / "ruined.onnx", nodes, weights, 8)
    layers(options(noised, model, tmp_path / "report", "int8"))
    rows = list(read(tmp_path / "report")["int8"].values())
    blamed = min((row for row in rows if row["effect_db"]), key=lambda row: float(row["effect_db"]))
    assert blamed["node"] == "layer3"
    assert float(blamed["weights_db"]) > float(blamed["alone_db"]) + 20  # its weights are not to blame
    printed = capsys.readouterr().out
    assert "The worst node is Conv layer3" in printed
    table = printed.partition("─\n")[2].splitlines()
    assert table[0].split()[:2] == ["layer3", "Conv"]


def test_figures_do_not_depend_on_the_number_of_threads(net: Path, output: Path, noised: Path) -> None:
    shards = open_shards(noised)
    model = as_it_is(output / "models" / "net" / "int8.onnx")
    cell = Cell(shards.reference, replace(model, name="int8"))
    images = last(stored(noised / "pil_bilinear"))

    def read_images(variant: str) -> Iterator[Array]:
        assert variant == "pil_bilinear"
        return iter(images)

    found = [measure(as_it_is(net), "pil_bilinear", [cell], read_images, COUNT, threads) for threads in (1, 3)]
    assert found[0] == found[1]
    assert any(layer.effect for layer in found[0][0])


def test_ratios_with_infinity_and_nan() -> None:
    one = np.array([3.0, 4.0, np.inf, np.nan], np.float32)
    assert ratio(one, one) == Ratio(25, 0)
    assert ratio(one, one).decibels == math.inf
    assert ratio(one, np.array([3.0, 4.5, 7.0, 1.0], np.float32)) == Ratio(25, 0.25)
    assert ratio(one, np.array([3.0, np.nan, 7.0, 1.0], np.float32)).decibels == -math.inf
    assert ratio(np.zeros(3), np.ones(3)).decibels is None
    assert ratio(np.zeros(3), np.zeros(3)).decibels == math.inf
    assert ratio(np.zeros(3), np.zeros(4)).plus(Ratio(1, 0)).decibels is None


def test_the_page_is_self_contained_and_has_every_tensor(output: Path) -> None:
    html = (output / "layers.html").read_text()
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|src=|@import", html)
    assert "#0" not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)  # no colour but the page's own
    for variant in MEASURED:
        section = html.partition(f'<section data-variant="{variant}">')[2].partition("</section>")[0]
        assert section.count("<title>") == len(TENSORS)
        rows = section.partition('class="nodes all"')[2]
        assert re.findall(r'</th><td>\w+</td><td class="wrap">(\w+)</td>', rows) == TENSORS
    assert html.count('class="rank precision"') >= 3


def test_long_networks_and_odd_names_are_drawn(output: Path) -> None:
    tensors = [
        Tensor(f"t{place}", f"/stage<{place % 5}>/a&b/{'deep/' * 9}Conv_{place}", "Conv", (f"t{place - 1}",))
        for place in range(500)
    ]
    made = [
        Layer(tensor, (1, 8), (1, 8), 40 - place / 20, 0.1, 20 + place % 37, None, 20 + place % 31)
        for place, tensor in enumerate(tensors)
    ]
    html = page("long", [Answer("int8", "precision", made, ["t499"])], ["<note>"])
    assert html.count("<title>") == 501
    assert "/stage&lt;0&gt;/a&amp;b/" in html
    assert "/stage<" not in html
    assert "&lt;note&gt;" in html


@pytest.mark.parametrize(
    ("words", "images", "message"),
    [
        (["box_offset"], None, "box noise comes after the model and has no tensors"),
        (["opencv_lanczos"], None, "is not in"),
        (["reference"], None, "nothing that differs"),
        (["int9"], None, "unknown method 'int9'"),
        (["upsample_bilinear"], None, "none of the variants applies"),
        (["fp16"], 49, "--images 49 is more than the 48"),
    ],
)
def test_requests_that_cannot_be_measured_are_refused_in_one_line(
    words: list[str], images: int | None, message: str, net: Path, noised: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        layers(options(noised, net, tmp_path / "report", *words, images=images))


def test_groups_skip_methods_that_have_no_tensors(net: Path, noised: Path, tmp_path: Path) -> None:
    layers(options(noised, net, tmp_path, "upsample", "boxes", images=1))
    assert list(read(tmp_path)) == ["upsample_bilinear_corners", "upsample_nearest"]
