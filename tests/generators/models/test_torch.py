"""Networks that are exported to ONNX and noised here equal those built with the noise in PyTorch."""

from __future__ import annotations

import functools
import io
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from generators.models import files
from generators.models.pool import ceil_mode, ceil_mode_average
from generators.models.upsample import upsample_bilinear, upsample_bilinear_corners, upsample_nearest
from tests.generators.models import tiny

torch = tiny.pytorch()
nn: Any = torch.nn
functional = nn.functional

# torch's terms for how a network enlarges.
METHODS: dict[str, dict[str, Any]] = {
    "nearest": {"mode": "nearest"},
    "bilinear": {"mode": "bilinear", "align_corners": False},
    "corners": {"mode": "bilinear", "align_corners": True},
}
# The last is the newest that ONNX Runtime supports: 1.31, and 1.23 for Python 3.10.
OPSETS = (11, 13, 17, 26 if sys.version_info >= (3, 11) else 23)
SIZES = ((32, 64), (64, 32), (43, 59))


class ResNet(nn.Module):  # type: ignore[misc]  # torch may not be installed, and is Any
    """A stem, and a block of ResNet-D, which averages in its shortcut."""

    def __init__(self, ceil: bool, ceil_average: bool, up: dict[str, Any]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=ceil)
        self.first = nn.Conv2d(8, 8, 3, 1, 1)
        self.mean = nn.AvgPool2d(2, 2, ceil_mode=ceil_average, count_include_pad=False)
        self.counted = nn.AvgPool2d(3, 2, 1, ceil_mode=ceil_average)
        self.last = nn.Linear(8, 10)

    def forward(self, images: Any) -> Any:
        found = self.pool(self.stem(images))
        found = functional.relu(found + self.first(found))
        found = self.counted(self.mean(found))
        return self.last(functional.adaptive_avg_pool2d(found, 1).flatten(1))


class Pyramid(nn.Module):  # type: ignore[misc]  # torch may not be installed, and is Any
    """An FPN, like United-Perception's: each level is resized to the size of the next."""

    def __init__(self, ceil: bool, ceil_average: bool, up: dict[str, Any]) -> None:
        super().__init__()
        self.up = up
        self.stem = nn.Conv2d(3, 8, 7, 2, 3)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=ceil)
        self.down = nn.ModuleList([nn.Conv2d(8, 8, 3, 2, 1) for _ in range(3)])
        self.lateral = nn.ModuleList([nn.Conv2d(8, 4, 1) for _ in range(4)])

    def forward(self, images: Any) -> Any:
        levels = [self.pool(functional.relu(self.stem(images)))]
        for down in self.down:
            levels.append(functional.relu(down(levels[-1])))
        found = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        for index in (2, 1, 0):
            resized = functional.interpolate(found[index + 1], size=found[index].shape[-2:], **self.up)
            found[index] = found[index] + resized
        return tuple(found)


class DeepLab(nn.Module):  # type: ignore[misc]  # torch may not be installed, and is Any
    """Dilated convolutions next to a pooled image, and an output of the input's size."""

    def __init__(self, ceil: bool, ceil_average: bool, up: dict[str, Any]) -> None:
        super().__init__()
        self.up = up
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=ceil)
        self.dilated = nn.ModuleList([nn.Conv2d(8, 4, 3, 1, rate, rate) for rate in (1, 2, 4)])
        self.pooled = nn.Conv2d(8, 4, 1)
        self.last = nn.Conv2d(16, 5, 1)

    def forward(self, images: Any) -> Any:
        deep = self.pool(self.stem(images))
        whole = self.pooled(functional.adaptive_avg_pool2d(deep, 1))
        whole = functional.interpolate(whole, size=deep.shape[-2:], **self.up)
        found = torch.cat([*(functional.relu(layer(deep)) for layer in self.dilated), whole], 1)
        return functional.interpolate(self.last(found), size=images.shape[-2:], **self.up)


class UNet(nn.Module):  # type: ignore[misc]  # torch may not be installed, and is Any
    """Two levels down by unpadded pools, two up to the sizes of the skip connections, and one more by a factor."""

    def __init__(self, ceil: bool, ceil_average: bool, up: dict[str, Any]) -> None:
        super().__init__()
        self.up = up
        self.layers = nn.ModuleList([nn.Conv2d(n, 6, 3, 1, 1) for n in (3, 6, 6, 12, 12)])
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=ceil)

    def forward(self, images: Any) -> Any:
        first = functional.relu(self.layers[0](images))
        second = functional.silu(self.layers[1](self.pool(first)))
        found = functional.relu(self.layers[2](self.pool(second)))
        for layer, kept in zip(self.layers[3:], (second, first), strict=True):
            resized = functional.interpolate(found, size=kept.shape[-2:], **self.up)
            found = functional.relu(layer(torch.cat([resized, kept], 1)))
        return functional.interpolate(found, scale_factor=2, **self.up)


NETWORKS = {network.__name__: network for network in (ResNet, Pyramid, DeepLab, UNet)}


def build(name: str, ceil: bool = False, ceil_average: bool = False, up: str = "nearest") -> Any:
    torch.set_num_threads(1)
    torch.manual_seed(13)
    return NETWORKS[name](ceil, ceil_average, METHODS[up]).eval()


@functools.cache
def expected(size: tuple[int, int], batch: int, name: str, **how: Any) -> tuple[tiny.Array, ...]:
    """The output, for some images, of a network that was built with the noise."""
    with torch.no_grad():
        made = build(name, **how)(torch.from_numpy(tiny.pixels(batch, 3, *size)))
    return tuple(each.numpy() for each in (made if isinstance(made, tuple) else (made,)))


@functools.cache
def exported(
    name: str, opset: int, up: str = "nearest", height: int = 64, width: int = 64, fixed: bool = False
) -> bytes:
    buffer = io.BytesIO()
    axes = {} if fixed else {"images": {0: "n", 2: "h", 3: "w"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated
        torch.onnx.export(
            build(name, up=up),
            (torch.zeros(1, 3, height, width),),
            buffer,
            dynamo=False,
            opset_version=min(opset, 20),
            input_names=["images"],
            dynamic_axes=axes,
        )
    made = onnx.load_from_string(buffer.getvalue())
    if opset > 20:  # the newest that this exporter can write
        made = onnx.version_converter.convert_version(made, opset)
    return bytes(made.SerializeToString())


def loaded(name: str, opset: int, tmp_path: Path, **given: Any) -> ir.Model:
    path = tmp_path / "source.onnx"
    path.write_bytes(exported(name, opset, **given))
    return files.load(path)


def compare(
    model: ir.Model, path: Path, name: str, sizes: Sequence[tuple[int, int]] = SIZES, batch: int = 2, **how: Any
) -> None:
    """Check that a noised model's file gives the same as the network that was built with the noise."""
    tiny.saved(model, path)
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for size in sizes:
        found = session.run(None, {session.get_inputs()[0].name: tiny.pixels(batch, 3, *size)})
        for one, other in zip(found, expected(size, batch, name, **how), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", list(NETWORKS))
def test_ceil_mode(name: str, opset: int, tmp_path: Path) -> None:
    model = loaded(name, opset, tmp_path)
    changes = ceil_mode(model)
    assert [change.operator for change in changes] == ["MaxPool"] * (2 if name == "UNet" else 1)
    compare(model, tmp_path / "noised.onnx", name, ceil=True)
    assert model.opset_imports[""] == opset


@pytest.mark.parametrize("opset", OPSETS)
def test_ceil_mode_of_averages(opset: int, tmp_path: Path) -> None:
    model = loaded("ResNet", opset, tmp_path)
    assert len(ceil_mode_average(model)) == 2
    compare(model, tmp_path / "noised.onnx", "ResNet", ceil_average=True)
    assert len(ceil_mode(model)) == 1
    compare(model, tmp_path / "noised.onnx", "ResNet", ceil=True, ceil_average=True)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("name", "resizes"), [("Pyramid", 3), ("DeepLab", 2), ("UNet", 3)])
def test_upsampling(name: str, resizes: int, opset: int, tmp_path: Path) -> None:
    for noise, up, before in (
        (upsample_bilinear, "bilinear", "nearest"),
        (upsample_bilinear_corners, "corners", "nearest"),
        (upsample_nearest, "nearest", "bilinear"),
    ):
        model = loaded(name, opset, tmp_path, up=before)
        assert len(noise(model)) == resizes
        compare(model, tmp_path / "noised.onnx", name, up=up)
        assert model.opset_imports[""] == opset


@pytest.mark.parametrize("opset", OPSETS)
def test_both_together(opset: int, tmp_path: Path) -> None:
    model = loaded("Pyramid", opset, tmp_path)
    ceil_mode(model)
    upsample_bilinear_corners(model)
    compare(model, tmp_path / "noised.onnx", "Pyramid", ceil=True, up="corners")


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("name", "size", "followed"),
    [("Pyramid", (64, 96), 3), ("Pyramid", (75, 107), 1), ("DeepLab", (64, 96), 1), ("DeepLab", (75, 107), 1)],
)
def test_fixed_sizes_are_adapted(name: str, size: tuple[int, int], followed: int, opset: int, tmp_path: Path) -> None:
    """An export for one input size, with the sizes of all levels as constants."""
    height, width = size
    model = loaded(name, opset, tmp_path, height=height, width=width, fixed=True)
    changes = ceil_mode(model)
    assert [change.operator for change in changes].count("Resize") == followed
    compare(model, tmp_path / "noised.onnx", name, [size], batch=1, ceil=True)


def test_the_newer_exporter(tmp_path: Path) -> None:
    """It computes sizes from the input's by formulas that round down, so each Resize needs a new size."""
    dynamic = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about itself
        program = torch.onnx.export(
            build("Pyramid"),
            (torch.zeros(2, 3, 64, 96),),
            dynamo=True,
            verbose=False,
            dynamic_shapes={"images": {0: dynamic, 2: dynamic, 3: dynamic}},
        )
    (tmp_path / "source.onnx").write_bytes(program.model_proto.SerializeToString())
    model = files.load(tmp_path / "source.onnx")
    assert [change.operator for change in ceil_mode(model)] == ["MaxPool", *["Resize"] * 3]
    assert len(upsample_bilinear_corners(model)) == 3
    compare(model, tmp_path / "noised.onnx", "Pyramid", ceil=True, up="corners")
