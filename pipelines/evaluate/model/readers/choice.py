"""Chooses which of a model's outputs to read: the one that its TOML names, or the only one that fits.

Refuses ambiguous outputs: auxiliary heads and features may have the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.runtimes import Outputs, described

Fits = Callable[[NDArray[Any]], bool]


def choose(outputs: Outputs, stated: str | None, fits: Sequence[Fits], sought: str) -> str:
    """The name of the output to read: the one that passes the first of `fits` that any output for one image passes.

    Raises UsageError if several pass it, or if none passes any; `sought` describes what is wanted.
    """
    if stated is not None and stated not in outputs:
        raise UsageError(f'the model has no numeric output called "{stated}": its outputs are {described(outputs)}')
    asked = {name: output for name, output in outputs.items() if stated in (None, name)}
    fitting = next((found for fit in fits if (found := [name for name in asked if fit(asked[name])])), [])
    if len(fitting) > 1:
        raise UsageError(
            f"more than one of the model's outputs could be read ({described(outputs)}): name one in its TOML, such as "
            f'output = "{fitting[0]}"'
        )
    if not fitting:
        raise UsageError(f"the model's outputs for one image ({described(asked)}) are not {sought}")
    return fitting[0]


def choice_note(outputs: Outputs, chosen: str) -> str:
    """A line that names the chosen output; empty if there is no other."""
    others = ", ".join(name for name in outputs if name != chosen)
    return f"the model's output {chosen} is read; {others} is ignored" if others else ""
