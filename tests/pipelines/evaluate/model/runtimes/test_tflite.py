"""TFLite models in LiteRT, against NumPy's arithmetic and LiteRT's reference kernels, and refused models."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

import generate
from generators.registry import METHODS
from pipelines.command import options_of
from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import as_it_is
from pipelines.evaluate.model.inputs import fitting
from pipelines.evaluate.model.kept import open_kept
from pipelines.evaluate.model.noised import DoesNotApplyError, Images, NoisedModels, nodes_changed
from pipelines.evaluate.model.preprocessing import Preprocessing
from pipelines.evaluate.model.readers import kind_for
from pipelines.evaluate.model.runtimes import Input, Session, open_session, runtime_of
from pipelines.evaluate.model.runtimes.quiet import silence
from pipelines.evaluate.model.weights import model_files
from pipelines.evaluate.model.write import generate_models, list_for
from pipelines.generate.options import Options
from tests import ROOT
from tests.pipelines.evaluate.model.models import colour_model
from tests.pipelines.evaluate.model.runtimes.flat import Flat
from tests.pipelines.evaluate.model.test_weights import everywhere

SIDE, CLASSES = 4, 1001
VALUES = SIDE * SIDE * 3
# Pixels enter a quantised input with a scale of 1/128 unchanged.
AS_THEY_ARE = Preprocessing((128, 128, 128), (128, 128, 128), 1.0, "rgb", "nhwc", class_offset=1)


def tflite(path: Path, device: str = "cpu", layout: str = "nhwc") -> Session:
    return open_session(as_it_is(path), layout, device)


def refused(path: Path, device: str = "cpu", layout: str = "nhwc") -> str:
    with pytest.raises(UsageError) as caught:
        tflite(path, device, layout)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Steps(NamedTuple):
    """How an input, weights and an output are quantised, in this order."""

    scales: tuple[float, ...] = (1.0, 1.0, 1.0)
    zero_points: tuple[int, ...] = (0, 0, 0)


class Dense(NamedTuple):
    """A model of one layer with 1,001 classes, and its arithmetic."""

    path: Path
    weights: NDArray[Any]
    bias: NDArray[Any]
    steps: Steps = Steps()

    def expected(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """The outputs for an input: integer sums, multiplied once and rounded to the nearest step, halves to even."""
        own, weights, out = self.steps.zero_points
        sums = (batch.reshape(len(batch), -1).astype(np.int64) - own) @ (self.weights.astype(np.int64) - weights).T
        scale = np.array(self.steps.scales, np.float32)
        steps = np.rint((sums + self.bias).astype(np.float32) * (scale[0] * scale[1] / scale[2])) + out
        bounds = np.iinfo(self.weights.dtype)
        found: NDArray[np.float32] = (steps.clip(bounds.min, bounds.max).astype(np.float32) - out) * scale[2]
        return found


def quantised(path: Path, dtype: str, shape: Sequence[int] = (1, SIDE, SIDE, 3)) -> Dense:
    random, bounds = np.random.default_rng(1), np.iinfo(dtype)
    weights = random.integers(bounds.min + 1, bounds.max, (CLASSES, VALUES), endpoint=True).astype(dtype)
    bias = random.integers(-1000, 1000, CLASSES).astype(np.int32)
    own, of_weights, out = (1 / 128, 128 if dtype == "uint8" else 0), (0.02, 0 if bounds.min else 131), (0.25, 7)
    flat = Flat()
    image = flat.tensor("image", dtype, shape, (own[0],), own[1])
    rows = flat.tensor("rows", dtype, (shape[0], VALUES), (own[0],), own[1])
    scores = flat.tensor("scores", dtype, (shape[0], CLASSES), (out[0],), out[1])
    flat.add("RESHAPE", [image, flat.constant("shape", np.array([-1, VALUES], np.int32))], rows)
    constants = [flat.constant("weights", weights, *of_weights), flat.constant("bias", bias, own[0] * of_weights[0])]
    flat.add("FULLY_CONNECTED", [rows, *constants], scores)
    steps = Steps((own[0], of_weights[0], out[0]), (own[1], of_weights[1], out[1]))
    return Dense(flat.save(path, [image], [scores]), weights, bias, steps)


def floating(path: Path, signature: Sequence[int] | None = None, dtype: str = "float32") -> Dense:
    """A model that is not quantised; it converts integer pixels to floats itself."""
    random = np.random.default_rng(2)
    weights = random.normal(size=(CLASSES, VALUES)).astype(np.float32)
    bias = random.normal(size=CLASSES).astype(np.float32)
    flat = Flat()
    image = flat.tensor("image", dtype, (1, SIDE, SIDE, 3), signature=signature)
    rows = flat.tensor("rows", dtype, (1, VALUES))
    floats = flat.tensor("floats", "float32", (1, VALUES))
    scores = flat.tensor("scores", "float32", (1, CLASSES))
    flat.add("RESHAPE", [image, flat.constant("shape", np.array([-1, VALUES], np.int32))], rows)
    if dtype != "float32":
        flat.add("CAST", [rows], floats)
    inputs = [rows if dtype == "float32" else floats, flat.constant("weights", weights), flat.constant("bias", bias)]
    flat.add("FULLY_CONNECTED", inputs, scores)
    return Dense(flat.save(path, [image], [scores], {"logits": scores}), weights, bias)


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 255, (count, SIDE, SIDE, 3), endpoint=True).astype(np.uint8)


@pytest.mark.parametrize(("dtype", "shift"), [("uint8", 0), ("int8", 128)])
def test_quantised_scores_are_those_of_integer_arithmetic(tmp_path: Path, dtype: str, shift: int) -> None:
    model = quantised(tmp_path / "m.tflite", dtype)
    session, images = tflite(model.path), pictures(20)
    inputs = fitting(session.input, AS_THEY_ARE, images[0])
    for pixels in images:
        batch = inputs.batch(1)
        inputs.place("one", {}, pixels, batch[0])
        assert np.array_equal(batch[0].astype(int), pixels.astype(int) - shift)
        (scores,) = session.run(batch).values()
        assert scores.dtype == np.float32
        expected = model.expected(batch)
        assert len(np.unique(expected)) > 50
        assert np.array_equal(scores, expected)


def test_float_outputs_are_named_by_the_signature(tmp_path: Path) -> None:
    model = floating(tmp_path / "m.TFLITE")
    session = tflite(model.path)
    assert session.input == Input("image", np.dtype(np.float32), 1, SIDE, SIDE)
    batch = pictures(1) / np.float32(255)
    found = session.run(batch)
    assert list(found) == ["logits"]
    np.testing.assert_allclose(found["logits"], batch.reshape(1, -1) @ model.weights.T + model.bias, atol=1e-4)


def test_integer_inputs_without_quantisation_get_pixels_unchanged(tmp_path: Path) -> None:
    model = floating(tmp_path / "m.tflite", dtype="uint8")
    session, pixels = tflite(model.path), pictures(1)
    assert session.input == Input("image", np.dtype(np.uint8), 1, SIDE, SIDE)
    expected = pixels.reshape(1, -1) @ model.weights.T.astype(np.float64) + model.bias
    np.testing.assert_allclose(session.run(pixels)["logits"], expected, rtol=1e-4, atol=0.05)


def test_integer_outputs_without_quantisation_are_unchanged(tmp_path: Path) -> None:
    flat = Flat()
    image = flat.tensor("image", "uint8", (1, SIDE, SIDE, 3))
    outs = [flat.tensor("map", "int32", (1, SIDE, SIDE, 3)) for _ in range(2)]
    for out in outs:
        flat.add("CAST", [image], out)
    pixels = pictures(1)
    found = tflite(flat.save(tmp_path / "m.tflite", [image], outs)).run(pixels)
    assert list(found) == ["map:0", "map:1"]  # both have the same name in the file
    assert all(out.dtype == np.int32 and np.array_equal(out, pixels) for out in found.values())


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "mean", "std"),
    [
        ("int8", 1 / 127.5, -1, 127.5, 127.5),
        ("uint8", 1 / 127.5, 127, 127.5, 127.5),
        ("uint8", 1 / 128, 128, 127.5, 127.5),
        ("int8", 0.018658, -14, 123.675, 58.395),
        ("uint8", 0.0117, 99, 103.53, 57.375),
    ],
)
def test_pixels_are_quantised_as_by_the_reference_kernel(
    tmp_path: Path, dtype: str, scale: float, zero_point: int, mean: float, std: float
) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    flat = Flat()
    given = flat.tensor("given", "float32", (256,))
    out = flat.tensor("out", dtype, (256,), (scale,), zero_point)
    flat.add("QUANTIZE", [given], out)
    path = flat.save(tmp_path / "quantise.tflite", [given], [out])
    reference = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    reference.allocate_tensors()
    reference.set_tensor(given, ((np.arange(256) - mean) / std).astype(np.float32))
    reference.invoke()

    flat = Flat()
    image = flat.tensor("image", dtype, (1, 16, 16, 3), (scale,), zero_point)
    same = flat.tensor("same", dtype, (1, 16, 16, 3), (scale,), zero_point)
    flat.add("RESHAPE", [image, flat.constant("shape", np.array([1, 16, 16, 3], np.int32))], same)
    session = tflite(flat.save(tmp_path / "m.tflite", [image], [same]))
    pixels = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    inputs = fitting(session.input, Preprocessing((mean,) * 3, (std,) * 3, 1.0, "rgb", "nhwc"), pixels)
    batch = inputs.batch(1)
    inputs.place("one", {}, pixels, batch[0])
    assert batch.dtype == dtype
    assert np.array_equal(batch[0, :, :, 1].ravel(), reference.get_tensor(out))


@pytest.mark.parametrize("kind", [floating, lambda path: quantised(path, "int8")])
def test_scores_do_not_depend_on_the_number_of_threads(tmp_path: Path, kind: Any) -> None:
    session = tflite(kind(tmp_path / "m.tflite").path)
    batches = [image[None].astype(session.input.dtype) for image in pictures(200)]

    def scores(batch: NDArray[Any]) -> bytes:
        (found,) = session.run(batch).values()
        return bytes(found.tobytes())

    alone = [scores(batch) for batch in batches]
    assert len(set(alone)) == len(alone)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(scores, batches)) == alone
    session.stop()
    with pytest.raises(UsageError, match="stopped"):
        session.run(batches[0])


def test_an_open_batch_takes_any_number_and_a_fixed_one_is_padded(tmp_path: Path) -> None:
    images = pictures(4)
    session = tflite(floating(tmp_path / "open.tflite", (-1, SIDE, SIDE, 3)).path)
    assert session.input.batch is None
    whole = session.run(images.astype(np.float32))["logits"]
    for number, image in enumerate(images):
        np.testing.assert_allclose(session.run(image[None].astype(np.float32))["logits"], whole[[number]], rtol=1e-4)
    assert np.array_equal(session.run(images.astype(np.float32))["logits"], whole)
    model = quantised(tmp_path / "four.tflite", "uint8", (4, SIDE, SIDE, 3))
    session = tflite(model.path)
    assert session.input.batch == 4
    assert np.array_equal(session.run(images[:3])["scores"], model.expected(images[:3]))


def test_unsuitable_inputs_are_refused_in_one_line(tmp_path: Path) -> None:
    path = floating(tmp_path / "m.tflite").path
    assert 'm.tflite takes [1, 4, 4, 3], which is not nchw with three channels: give layout = "nhwc"' in refused(
        path, layout="nchw"
    )
    assert refused(path, "cuda") == "--device cuda: a TFLite model runs on the CPU here; leave it out"
    with pytest.raises(UsageError, match="on the CPU here"):
        runtime_of(path).versions("cuda")
    shapeless = floating(tmp_path / "open.tflite", (1, -1, -1, 3)).path
    assert "takes [1, -1, -1, 3], where -1 is an open length: convert it again" in refused(shapeless)
    with pytest.raises(UsageError, match="failed on an input of 1x5x4x3"):
        tflite(path).run(np.zeros((1, 5, 4, 3), np.float32))


def small(path: Path, operator: str = "CAST", custom: str | None = None, out: str = "float32", **tensor: Any) -> Path:
    """One operator on an image."""
    flat = Flat()
    tensor = {"dtype": "uint8", "shape": (1, SIDE, SIDE, 3), **tensor}
    image = flat.tensor("image", **tensor)
    result = flat.tensor("result", out, tensor["shape"])
    flat.add(operator, [image], result, custom)
    return flat.save(path, [image], [result])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            {"scales": (0.1, 0.2, 0.3), "operator": "DEQUANTIZE", "dtype": "int8"},
            "has the scales 0.1, 0.2, 0.3, not one",
        ),
        ({"shape": (1, SIDE, SIDE)}, "does not take one batch of images as numbers; its inputs: image uint8 [1, 4, 4]"),
        ({"shape": (1, SIDE, SIDE, 4)}, "it must take three channels"),
        ({"operator": "CUSTOM", "custom": "Mine"}, "can load (Encountered unresolved custom op: Mine"),
    ],
)
def test_models_that_cannot_be_scored_are_refused(tmp_path: Path, made: dict[str, Any], message: str) -> None:
    assert message in refused(small(tmp_path / "m.tflite", **made))


def test_text_outputs_are_refused(tmp_path: Path) -> None:
    flat = Flat()
    image, text = flat.tensor("image", "uint8", (1, SIDE, SIDE, 3)), flat.tensor("text", "string", (1,))
    path = flat.save(tmp_path / "m.tflite", [image], [text])
    assert "m.tflite: its output text is" in refused(path)


@pytest.mark.parametrize("content", [b"", b"\x1c\0\0\0TFL3", b"no model at all", b"\x08\x07\x12\x04onnx" * 9])
def test_files_that_are_not_models_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    assert f"{path} is not a TFLite model that LiteRT" in refused(path)


FUZZ = """
import random, sys
from pathlib import Path
import numpy as np
from pipelines.errors import UsageError
from pipelines.evaluate.model.cells import as_it_is
from pipelines.evaluate.model.runtimes import open_session
whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[1]).with_name("broken.tflite")
draw, refused = random.Random(4), 0
tail = len(whole) - 3000  # the descriptions of tensors and operators come after their numbers
for number in range(400):
    broken = bytearray(whole[: draw.randrange(len(whole))] if number % 4 == 0 else whole)
    for _ in range(draw.choice([1, 3, 9])):
        if number % 4 and broken:
            broken[draw.randrange(tail if number % 2 else 0, len(broken))] ^= 1 << draw.randrange(8)
    path.unlink(missing_ok=True)
    path.write_bytes(broken)
    try:
        session = open_session(as_it_is(path), "nhwc", "cpu")
        if session.input.batch in (None, 1) and (session.input.height, session.input.width) == (4, 4):
            session.run(np.zeros((1, 4, 4, 3), session.input.dtype))
    except UsageError as error:
        refused += 1
        assert "\\n" not in str(error)
print(refused)
"""


def test_a_damaged_model_is_refused_or_runs(tmp_path: Path) -> None:
    model = quantised(tmp_path / "m.tflite", "int8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FUZZ, str(model.path)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # not killed by a signal
    assert not done.stderr
    assert int(done.stdout) > 100


def test_a_missing_litert_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = floating(tmp_path / "m.tflite").path
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert refused(path) == "--model needs LiteRT: pip install ai-edge-litert"


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = tflite(quantised(tmp_path / "m.tflite", "int8").path)
    session.run(np.zeros((1, SIDE, SIDE, 3), np.int8))
    assert capfd.readouterr() == ("", "")


def test_stderr_is_restored_after_silent_threads(capfd: pytest.CaptureFixture[str]) -> None:
    def quietly(_: int) -> None:
        with silence():
            subprocess.run(["true"], check=True)  # lets other threads run
            os.write(2, b"silenced")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(quietly, range(20)))
    os.write(2, b"printed")
    assert capfd.readouterr().err == "printed"


def test_model_noise_does_not_apply(tmp_path: Path) -> None:
    path = floating(tmp_path / "m.tflite").path

    def images() -> Images:
        raise AssertionError("calibration is not needed")

    models = NoisedModels(path, tmp_path / "models", images)
    assert models.noised(()).path == path
    for token in ("ceil_mode", "upsample_bilinear", "fp16", "int8"):
        with pytest.raises(DoesNotApplyError, match="a TFLite model runs as it is"):
            models.noised([METHODS[token]])
        with pytest.raises(DoesNotApplyError, match="a TFLite model runs as it is"):
            nodes_changed(path, [METHODS[token]])
    assert not (tmp_path / "models").exists()
    listed = list_for(Options(model=str(path)))
    assert listed.count("no       a TFLite model runs as it is") == listed.count("no  ") - listed.count("no boxes")


def test_a_noised_copy_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    path, out = floating(tmp_path / "m.tflite").path, tmp_path / "out"
    command = ["--model", str(path), "--variant", "int8", "--output", str(out)]
    with pytest.raises(UsageError, match=r"^int8 does not apply to m\.tflite: a TFLite model runs as it is"):
        generate_models(options_of(generate._parser().parse_args(command), Options))
    assert not out.exists()


def test_a_tflite_model_is_one_file(tmp_path: Path) -> None:
    model = everywhere(tmp_path / "m.onnx", ["a", "b", "c", "d", "e"]).rename(tmp_path / "m.tflite")
    assert model_files(model) == [model]


def test_predictions_name_the_kernels_and_are_not_reused_by_another_runtime(tmp_path: Path) -> None:
    ours = runtime_of(Path("m.tflite")).versions("cpu")
    assert set(ours) == {"litert", "kernels"}
    form = kind_for("imagenet", AS_THEY_ARE).form
    theirs = runtime_of(colour_model(tmp_path / "m.onnx", np.ones((3, 1000), np.float32))).versions("cpu")
    with open_kept(tmp_path / "kept", form, {"model": "one", **theirs}, ()) as kept:
        kept.done["reference"] = "pixels"
        kept.write()
    for other in ({"model": "two", **ours}, {"model": "one", **ours}):
        mistaken = pytest.raises(UsageError, match=r"has predictions of another .*litert, kernels: give another")
        with mistaken, open_kept(tmp_path / "kept", form, other, ()):
            pass


def test_a_published_model_reaches_its_known_score(data: Path) -> None:
    """Tested as by its authors, on the centre's 87.5 %, bilinear; their top-1 is near 40."""
    session = tflite(data / "models" / "mobilenet_v1_0.25_128_quant.tflite")
    rows = [line.split() for line in (data / "imagenet" / "flat.txt").read_text().splitlines()]
    inputs = fitting(session.input, AS_THEY_ARE, np.zeros((128, 128, 3), np.uint8))
    right = 0
    for name, label in rows:
        with Image.open(data / "imagenet" / "flat" / name) as image:
            width, height = image.size
            box = (width / 16, height / 16, width * 15 / 16, height * 15 / 16)
            pixels = np.asarray(image.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR, box))
        batch = inputs.batch(1)
        inputs.place(name, {}, pixels, batch[0])
        (scores,) = session.run(batch).values()
        right += int(scores[0].argmax()) - AS_THEY_ARE.class_offset == int(label)
    assert binomtest(right, len(rows), 0.4).pvalue > 1e-3
