"""Scoring what speech models make of mel spectrograms, and telling by its own which operators a device has.

`arrays` reads spectrograms that somebody else has made, `model` and `predict` make a model's; `distance` compares them
with the set's, `results` says what that means, and `match` ranks a device's.
"""
