"""The methods of pictures by where they run: with what is installed beside ours, or in environments of their own."""

from __future__ import annotations

from generators.registry import METHODS, PIXEL_STAGES, STAGES, Release

_PICTURES = {token: method for token, method in METHODS.items() if method.stage in STAGES}
APART = {token: method for token, method in _PICTURES.items() if isinstance(method.library, Release)}
HERE = {token: method for token, method in _PICTURES.items() if token not in APART}
# Of those, the ones that make pixels on any machine.
ON_CPU = {token: method for token, method in HERE.items() if method.stage in PIXEL_STAGES and not method.gpu}
