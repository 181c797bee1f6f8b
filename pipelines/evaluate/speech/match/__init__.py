"""Which variant of a set of speech a device has: its own mel spectrograms, ranked against the set's.

`dump` reads what the device made and how it is to be read, `measure` compares it with the variants, `rank` decides,
`answer` says it.
"""

from pipelines.evaluate.speech.match.run import match_mels

__all__ = ["match_mels"]
