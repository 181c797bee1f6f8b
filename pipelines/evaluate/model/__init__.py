"""Runs a model over shards, by ONNX Runtime or LiteRT, and writes its predictions."""
