"""A small network for the tests of files and opsets: a convolution, a pool, a ReLU."""

from __future__ import annotations

from onnx import helper

from tests.generators.models import tiny

WEIGHTS = {"weights": tiny.pixels(16, 3, 3, 3), "bias": tiny.pixels(16)}
CONV = helper.make_node("Conv", ["image", "weights", "bias"], ["conv"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
POOL = helper.make_node("MaxPool", ["conv"], ["pool"], kernel_shape=[3, 3], strides=[2, 2], name="pool")
END = helper.make_node("Relu", ["pool"], ["out"])
IMAGE = tiny.pixels(2, 3, 16, 17)
