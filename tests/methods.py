"""The methods of images by where they run: with the project's own packages, or in other environments."""

from __future__ import annotations

from generators.registry import METHODS, PIXEL_STAGES, STAGES, Release

_PICTURES = {token: method for token, method in METHODS.items() if method.stage in STAGES}
APART = {token: method for token, method in _PICTURES.items() if isinstance(method.library, Release)}
HERE = {token: method for token, method in _PICTURES.items() if token not in APART}
# Those of them that run on any machine.
ON_CPU = {token: method for token, method in HERE.items() if method.stage in PIXEL_STAGES and not method.gpu}
