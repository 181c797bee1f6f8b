"""A model in: shards through ONNX Runtime into prediction files."""
