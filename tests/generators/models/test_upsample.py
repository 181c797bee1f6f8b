from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from generators.models import files
from generators.models.graph import Change, ModelError
from generators.models.upsample import upsample_bilinear, upsample_bilinear_corners, upsample_nearest
from tests.generators.models import tiny

Noise = Callable[[ir.Model], list[Change]]
# The noises, torch's names for them, and ONNX's.
METHODS: dict[Noise, tuple[dict[str, Any], dict[str, str]]] = {
    upsample_bilinear: ({"mode": "bilinear", "align_corners": False}, {"mode": "linear"}),
    upsample_bilinear_corners: (
        {"mode": "bilinear", "align_corners": True},
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    upsample_nearest: (
        {"mode": "nearest"},
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
}
EVERY = pytest.mark.parametrize("noise", list(METHODS))


def resize(opset: int, scales: list[float] | None = None, sizes: list[int] | None = None, **given: Any) -> ir.Model:
    """A model that enlarges its input, by scales or to sizes."""
    constants: dict[str, Any] = {}
    if opset < 9:
        node = helper.make_node("Upsample", ["image"], ["large"], scales=scales, name="up", **given)
    else:
        inputs = ["image"] if opset < 11 else ["image", "roi"]
        constants = {"roi": np.zeros(0, np.float32)} if opset >= 11 else {}
        if sizes is None:
            constants["scales"] = np.array(scales, np.float32)
            inputs.append("scales")
        else:
            constants |= {"none": np.zeros(0, np.float32), "sizes": np.array(sizes, np.int64)}
            inputs += ["none" if opset < 13 else "", "sizes"]
        node = helper.make_node("Upsample" if opset < 10 else "Resize", inputs, ["large"], name="up", **given)
    end = helper.make_node("Neg", ["large"], ["out"], name="end")
    return tiny.model([node, end], constants, opset)


@EVERY
@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18, 19])
@pytest.mark.parametrize("scales", [(2.0, 2.0), (1.5, 3.0), (1.0, 2.0), (2.25, 1.7)])
def test_scales_equal_torch(noise: Noise, opset: int, scales: tuple[float, float]) -> None:
    """torch also uses the given scale, not that of the sizes."""
    torch = tiny.pytorch()
    image = tiny.pixels(2, 3, 8, 13)
    words = METHODS[noise][0]
    expected = -torch.nn.functional.interpolate(torch.from_numpy(image), scale_factor=scales, **words).numpy()
    model = resize(opset, scales=[1.0, 1.0, *scales], mode="linear" if noise is upsample_nearest else "nearest")
    (change,) = noise(model)
    assert change.operator == "Resize"
    assert model.opset_imports[""] == (opset if opset >= 11 else 13)
    np.testing.assert_allclose(tiny.run(model, image)[0], expected, atol=1e-5)


@EVERY
@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize(("old", "new"), [((8, 13), (16, 26)), ((7, 5), (13, 9)), ((9, 1), (33, 4)), ((3, 6), (8, 6))])
def test_sizes_equal_torch(noise: Noise, opset: int, old: tuple[int, int], new: tuple[int, int]) -> None:
    torch = tiny.pytorch()
    image = tiny.pixels(2, 3, *old)
    expected = -torch.nn.functional.interpolate(torch.from_numpy(image), size=new, **METHODS[noise][0]).numpy()
    model = resize(opset, sizes=[2, 3, *new], mode="cubic")
    model.graph.inputs[0].shape = ir.Shape([2, 3, *old])
    (change,) = noise(model)
    assert change.node == "up"
    np.testing.assert_allclose(tiny.run(model, image)[0], expected, atol=1e-5)


@EVERY
@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 19])
def test_a_method_that_a_model_already_has_changes_nothing(noise: Noise, opset: int) -> None:
    attributes: Any = METHODS[noise][1]
    if opset < 11:
        if noise is not upsample_nearest:
            return
        attributes = {"mode": "nearest"}
    model = resize(opset, scales=[1.0, 1.0, 2.0, 2.0], **attributes)
    before = ir.serde.serialize_model(model).SerializeToString()
    assert noise(model) == []
    assert ir.serde.serialize_model(model).SerializeToString() == before
    once = resize(opset, scales=[1.0, 1.0, 2.0, 2.0], mode="cubic" if opset > 10 else "linear")
    assert len(noise(once)) == 1
    assert noise(once) == []


def test_both_names_of_half_pixel_are_the_same() -> None:
    model = resize(13, scales=[1.0, 1.0, 2.0, 2.0], mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
    assert upsample_bilinear(model) == []
    assert upsample_bilinear_corners(model) == [
        Change("up", "Resize", "linear pytorch_half_pixel to linear align_corners")
    ]


@EVERY
@pytest.mark.parametrize("scales", [[1, 1, 0.5, 0.5], [1, 1, 2, 0.5], [1, 1, 1, 1]])
def test_nodes_that_do_not_enlarge_are_left_alone(noise: Noise, scales: list[float]) -> None:
    model = resize(13, scales=scales, mode="cubic")
    if scales == [1, 1, 1, 1]:
        model = resize(13, sizes=[2, 3, 8, 8], mode="cubic")
        model.graph.inputs[0].shape = ir.Shape([2, 3, 16, 9])
    assert noise(model) == []


def test_crops_are_refused() -> None:
    model = resize(13, scales=[1.0, 1.0, 2.0, 2.0], mode="linear", coordinate_transformation_mode="tf_crop_and_resize")
    with pytest.raises(ModelError, match="Resize 'up' cuts out a part"):
        upsample_nearest(model)


def test_axes_and_antialiasing_are_understood() -> None:
    torch = tiny.pytorch()
    image = tiny.pixels(1, 3, 6, 7)
    sizes = np.array([12, 14], np.int64)
    node = helper.make_node(
        "Resize", ["image", "", "", "sizes"], ["out"], name="up", axes=[2, 3], antialias=1, mode="cubic"
    )
    model = tiny.model([node], {"sizes": sizes}, 18, image=(1, 3, 6, 7))
    assert len(upsample_bilinear(model)) == 1
    expected = torch.nn.functional.interpolate(torch.from_numpy(image), size=(12, 14), mode="bilinear").numpy()
    np.testing.assert_allclose(tiny.run(model, image)[0], expected, atol=1e-5)


@EVERY
def test_on_real_models(noise: Noise, data: Path, tmp_path: Path) -> None:
    counts = {}
    for name in ("yolox_nano", "nanodet_320", "fastestdet", "squeezenet_v1.0", "efficientnet_lite0"):
        model = files.load(data / "models" / f"{name}.onnx")
        counts[name] = len(noise(model))
        if counts[name]:
            path = tiny.saved(model, tmp_path / f"{name}.onnx")
            side = {"fastestdet": 352, "nanodet_320": 320}.get(name, 160)
            image = tiny.pixels(1, 3, side, side)
            pairs = zip(tiny.run(path, image), tiny.run(data / "models" / path.name, image), strict=True)
            assert all(one.shape == other.shape and not np.array_equal(one, other) for one, other in pairs)
    expected: dict[Noise, dict[str, int]] = {
        upsample_bilinear: {"yolox_nano": 2, "nanodet_320": 0, "fastestdet": 1},
        upsample_bilinear_corners: {"yolox_nano": 2, "nanodet_320": 2, "fastestdet": 1},
        upsample_nearest: {"yolox_nano": 0, "nanodet_320": 2, "fastestdet": 0},
    }
    assert counts == {**expected[noise], "squeezenet_v1.0": 0, "efficientnet_lite0": 0}
