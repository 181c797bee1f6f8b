"""Scores speech models on mel spectrograms, and finds out which operators a device uses from its own.

`arrays` reads spectrograms made elsewhere, `model` and `predict` make a model's; `distance` compares them with the
set's, `results` computes the figures, and `match` ranks the variants for a device.
"""
