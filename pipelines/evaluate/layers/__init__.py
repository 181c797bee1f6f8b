"""Finds where in a network noise arises: the signal-to-noise ratio of each tensor against the reference's.

`measure` runs the models, `answer` names the worst nodes, `page` draws them along the graph, and `run` is the command.
"""

from pipelines.evaluate.layers.run import layers

__all__ = ["layers"]
