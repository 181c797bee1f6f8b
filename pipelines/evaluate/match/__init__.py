"""Finds out which variant a deployed device uses, from its pixels or from its model's outputs.

For pixels, `dump` reads the device's files, `measure` compares them with the variants, `rank` decides, and `answer`
words the result; `outputs` does the same for outputs.
"""

from pipelines.evaluate.match.run import match

__all__ = ["match"]
