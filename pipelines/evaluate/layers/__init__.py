"""Where in a network noise arises: each tensor's signal-to-noise ratio against the reference's.

`measure` runs the models, `answer` names the worst nodes, `page` draws them along the graph, `run` puts it together.
"""

from pipelines.evaluate.layers.run import layers

__all__ = ["layers"]
