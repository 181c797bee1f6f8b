"""Which variant a deployed device has, where it shows only what its model put out: outputs, ranked against those of the
model on every variant here.

`files` finds what the device put out and `values` reads it, `compare` says how far a candidate's outputs are from it,
`trials` runs candidates, `search` chooses which, `rank` decides, `answer` says it.
"""

from pipelines.evaluate.match.outputs.run import match_outputs

__all__ = ["match_outputs"]
