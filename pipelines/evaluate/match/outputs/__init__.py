"""Finds out which variant a deployed device uses from its model's outputs, compared with those of the model on every
variant.

`files` finds the device's outputs and `values` reads them, `compare` defines how far a candidate's outputs are from
them, `trials` runs candidates, `search` chooses them, `rank` decides, and `answer` words the result.
"""

from pipelines.evaluate.match.outputs.run import match_outputs

__all__ = ["match_outputs"]
