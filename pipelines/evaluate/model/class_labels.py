"""The file of `labels`: the dataset's label of each of a model's classes, one per line.

Refuses lines that are neither a label nor a synset, and empty or oversized files.
"""

from __future__ import annotations

import re
from pathlib import Path

from manifests.untrusted import read_at_most
from pipelines.errors import UsageError
from pipelines.evaluate.class_tables import CLASSES
from pipelines.generate.sources.labels import label_by_synset
from pipelines.store import place_of

# A WordNet synset id, alone or before its name.
_SYNSET = re.compile(r"n\d{8}(?=\W|$)")
_SYNSET_LENGTH = 9
# Bytes of a file of labels: enough for a line of names for each class of the largest models.
_LARGEST = 2**24


def read_labels(value: object, where: str, folder: Path) -> tuple[int, ...]:
    """The labels in the file `value`, a path relative to `folder` or a URI; `where` names the setting in errors."""
    if not isinstance(value, str | Path):
        raise UsageError(f"{where} must be the path of a file with one label per line, not {value!r}")
    path = place_of(str(value if "://" in str(value) else folder / value), where)
    try:
        with path.open() as file:
            lines = read_at_most(file, _LARGEST).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{where}: {path} cannot be read ({error})") from None
    numbered = {str(label): label for label in range(-1, CLASSES)}
    labels = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if _SYNSET.match(line):
            labels.append(label_by_synset().get(line[:_SYNSET_LENGTH], -1))
        elif line in numbered:
            labels.append(numbered[line])
        elif line:
            raise UsageError(
                f"{path}, line {number}: {line!r} is neither a label from -1 (none) to {CLASSES - 1} nor a synset"
            )
    if not labels:
        raise UsageError(f"{path} is empty: give the label of each of the model's classes, one per line")
    return tuple(labels)
