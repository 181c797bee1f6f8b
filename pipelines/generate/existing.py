"""What an output already contains, and the recipes with which a run continues it."""

from __future__ import annotations

from collections.abc import Mapping

from manifests.schema import Recipe
from manifests.splits import is_record
from pipelines.errors import UsageError
from pipelines.generate.conflicts import conflict
from pipelines.generate.output import Output, readable
from pipelines.generate.sources.reading import Spread, here
from pipelines.store import Place


def recorded(output: Output) -> dict[str, Recipe]:
    """The recipes of all variants that have at least one readable record, by name."""
    names = [name for name in output.root.folders() if not name.startswith(".")]
    return {name: recipe for name in names if (recipe := _recipe_in(output.folder(name)))}


def continued(
    output: Output,
    recipes: Mapping[str, Recipe],
    recorded: Mapping[str, Recipe],
    shards: int,
    overwrite: bool,
    spread: Spread = here,
) -> dict[str, Recipe]:
    """The recipes to continue with. A variant that an earlier version has finished keeps its own.

    Raises UsageError if such a variant is unfinished, since nothing shows whether the same bytes would be made now.
    """
    found = dict(recipes)
    for name, new in recipes.items():
        old = recorded.get(name, new)
        if old.is_probed or conflict(name, old, recipes):
            continue
        if len(output.done(name, shards, old, spread)) == shards:
            found[name] = old
        elif not overwrite:
            raise UsageError(
                f"{output.folder(name)} was begun by an earlier version, which did not record the pixels that it "
                "makes of the built-in pictures: finish it with that version, use --overwrite to make it again, "
                "or choose another --output"
            )
    return found


def _recipe_in(folder: Place) -> Recipe | None:
    records = (readable(folder / file) for file in folder.files() if is_record(file))
    return next((record.recipe for record in records if record), None)
