"""Exports as artefacts: `NAME.onnx`, `NAME.toml` (its preprocessing), `NAME.labels.txt` if its classes are not
ImageNet's, and `NAME.json`, which records how it was made.

Owns whether an existing export is still valid: of these weights, by these libraries and this code. Files are written
whole or not at all, the JSON last. Refuses to keep an export that differs from the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifests.provenance import code_sha256
from pipelines.errors import RunError, UsageError
from pipelines.evaluate.model.named.built import Built, weights_sha256
from pipelines.evaluate.model.named.export import compare, export
from pipelines.evaluate.model.named.program import OPSET
from pipelines.evaluate.model.named.pytorch import versions
from pipelines.evaluate.model.preprocessing import read_preprocessing
from pipelines.evaluate.model.record import read_record
from pipelines.evaluate.model.weights import model_sha256
from pipelines.progress import say
from pipelines.store.files import replacing

_ROOT = Path(__file__).resolve().parents[4]
# The code that decides an export's bytes and preprocessing.
_CODE = ("generators/models/graph.py", "pipelines/evaluate/model/named")
# The distributions that write an export, besides the network's own library.
_EXPORTERS = ("onnx", "onnx-ir", "onnxscript")


def exported(built: Built, folder: Path) -> Path:
    """The export of a network in `folder`, made if it does not exist yet; its notes are reported.

    Raises UsageError if it cannot be exported, and RunError if the export differs or cannot be written.
    """
    path = folder / f"{built.stem}.onnx"
    texts = beside(built)
    facts = {
        "model": built.name,
        "weights": {"from": Path(built.weights).name, "sha256": weights_sha256(built.module)},
        "opset": OPSET,
        "libraries": versions(sorted({*_EXPORTERS, *built.packages})),
        "code_sha256": code_sha256(_ROOT, _CODE),
        "files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()},
    }
    for note in built.notes:
        say(note)
    record = _existing(path, facts) or _make(built, path, texts, facts)
    checked = record["checked"]
    say(
        f"{built.name} is exported to {path}, whose outputs differ from PyTorch's by at most "
        f"{checked['largest_difference']:.1g} on {len(checked['images'])} photographs; "
        f"its own reference is {built.stated['reference']}"
    )
    return path


def _make(built: Built, path: Path, texts: Mapping[str, str], facts: Mapping[str, Any]) -> dict[str, Any]:
    say(f"exporting {built.name} to ONNX")
    path.with_suffix(".json").unlink(missing_ok=True)
    try:
        export(built, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}); no partial file is left") from None
    for name, text in texts.items():
        with replacing(path.parent / name) as partial:
            partial.write_text(text, encoding="utf-8")
    try:
        checked = compare(built, path, read_preprocessing(path, {}))
    except (RunError, UsageError):
        path.unlink()  # so that nobody mistakes it for the model
        raise
    record = {**facts, "checked": checked, "sha256": model_sha256(path)}
    with replacing(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return record


def beside(built: Built) -> dict[str, str]:
    """The texts of the files beside an export, by name: the TOML, and the labels if there are any."""
    stated, files = dict(built.stated), dict[str, str]()
    if built.labels is not None:
        stated["labels"] = f"{built.stem}.labels.txt"
        files[stated["labels"]] = "".join(f"{label}\n" for label in built.labels)
    lines = [f"# Of {built.name}, as its library has it.", *(f"{key} = {json.dumps(stated[key])}" for key in stated)]
    return {f"{built.stem}.toml": "\n".join(lines) + "\n", **files}


def _existing(path: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a valid export; None if it, or a file beside it, is missing, damaged or made otherwise."""
    try:
        found = {name: hashlib.sha256((path.parent / name).read_bytes()).hexdigest() for name in facts["files"]}
    except OSError:
        return None
    return read_record(path, facts, "checked", dict) if found == facts["files"] else None
