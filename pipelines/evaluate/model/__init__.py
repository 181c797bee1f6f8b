"""A model in: shards through ONNX Runtime or LiteRT into prediction files."""
