"""Which variant a deployed device has: its own pixels, ranked against the shards, or what its model put out.

Of pixels, `dump` reads what the device made, `measure` compares it with the variants, `rank` decides, `answer` says it;
`outputs` does the same for outputs.
"""

from pipelines.evaluate.match.run import match

__all__ = ["match"]
