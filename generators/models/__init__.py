"""Noise inside a model: an ONNX model in, an ONNX model out. Imports onnx where it is used, and no runtime but to
calibrate."""
