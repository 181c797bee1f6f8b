"""Which of a model's outputs is read: the one that its TOML names, or the only one that fits.

Refuses what leaves a choice: auxiliary heads and features may have the shape of what is sought.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from pipelines.errors import UsageError
from pipelines.evaluate.model.runtimes import Outputs, described

Fits = Callable[[NDArray[Any]], bool]


def choose(outputs: Outputs, stated: str | None, fits: Sequence[Fits], sought: str) -> str:
    """The name of the output that is read, by the first of `fits` that any of the outputs for one image passes.

    Raises UsageError where several do, or where none is `sought`.
    """
    if stated is not None and stated not in outputs:
        raise UsageError(f'the model has no output of numbers called "{stated}"; it has {described(outputs)}')
    asked = {name: output for name, output in outputs.items() if stated in (None, name)}
    fitting = next((found for fit in fits if (found := [name for name in asked if fit(asked[name])])), [])
    if len(fitting) > 1:
        raise UsageError(
            f"more than one of the model's outputs could be read ({described(outputs)}): write into its TOML which, "
            f'such as output = "{fitting[0]}"'
        )
    if not fitting:
        raise UsageError(f"the model's outputs for one image ({described(asked)}) are not {sought}")
    return fitting[0]


def said(outputs: Outputs, chosen: str) -> str:
    """A line that names the chosen output; empty where there is no other."""
    others = ", ".join(name for name in outputs if name != chosen)
    return f"the model's output {chosen} is read, and not {others}" if others else ""
