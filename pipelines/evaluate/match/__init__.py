"""Which variant a deployed device has: its own pixels, ranked against the shards.

`dump` reads what the device made, `measure` compares it with the variants, `rank` decides, `answer` says it.
"""

from pipelines.evaluate.match.run import match

__all__ = ["match"]
