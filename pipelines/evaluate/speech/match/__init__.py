"""Finds out which variant of a set of speech a device uses, from mel spectrograms that it dumped.

`dump` finds out the format of the dump, `measure` compares it with the variants, `rank` decides, and `answer` words the
result.
"""

from pipelines.evaluate.speech.match.run import match_mels

__all__ = ["match_mels"]
