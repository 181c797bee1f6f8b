"""How to make a row of a leaderboard again: the command, and the TOML with the model's preprocessing.

Both are derived from the report only, so they have no paths of the machine that made it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from generators.geometry import CROPPED
from generators.variant import NONE
from pipelines.evaluate.compare.entry import Entry

PREPROCESSING, LABELS = "model.toml", "labels.txt"
# Settings of a stated head; without one, the model's own head has them.
_OF_HEADS = ("score_threshold", "nms_iou")


def command(entry: Entry) -> str:
    """The command that makes a row's report; the user fills in the words in capitals."""
    results = entry.results
    dataset = str(results["dataset"])
    words = ["python", "score.py", "--shards", f"out/{entry.folder}/{dataset}"]
    if results["sha256"] is None:
        words += ["--predictions", "PREDICTIONS"]
    else:
        stated = ["--preprocessing", f"reports/{entry.folder}/{PREPROCESSING}"] if entry.made_by else []
        words += ["--model", "MODEL", *stated, "--dataset", dataset, "--source", "IMAGES"]
        words += ["--reference", _reference(results), *_target(results["geometry"])]
    words += ["--annotations", "ANNOTATIONS"] if dataset == "coco" else []
    words += ["--iou-type", "segm"] if results.get("iou_type") == "segm" else []
    scored_with = sorted(results["scored_with"].items())
    words += [word for name, value in scored_with for word in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join([*words, "--variant", ",".join(_singles(results)), "--output", "report"])


def _reference(results: Mapping[str, Any]) -> str:
    stages = results["variants"][results["reference"]]["stages"]
    return "+".join(token for token in stages.values() if token != NONE)


def _singles(results: Mapping[str, Any]) -> Iterator[str]:
    """The variants that differ at one stage, including those that do not apply; compositions follow from the worst."""
    base = results["variants"][results["reference"]]["stages"]
    for name, line in results["variants"].items():
        if sum(line["stages"][stage] != token for stage, token in base.items()) == 1:
            yield name
    if results["sha256"] is not None:
        yield from (name for name in results["not_applicable"] if "+" not in name)


def preprocessing(entry: Entry) -> dict[str, str]:
    """The files with the model's preprocessing, by name: a TOML, and the labels of its classes if they are its own."""
    if entry.made_by is None:
        return {}
    stated = {name: value for name, value in entry.made_by["preprocessing"].items() if value is not None}
    labels = stated.pop("labels", None)
    if "head" not in stated:
        stated = {name: value for name, value in stated.items() if name not in _OF_HEADS}
    # A stated size comes last: a detector's input may have another size than its images.
    stated = {**_geometry(entry.results["geometry"]), **stated}
    if labels is not None:
        stated = {name: value for name, value in stated.items() if name != "class_offset"} | {"labels": LABELS}
    # Numbers, strings and lists are written the same in JSON and TOML.
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in stated.items())
    files = {PREPROCESSING: text}
    return files if labels is None else {**files, LABELS: "".join(f"{label}\n" for label in labels)}


def _target(geometry: Mapping[str, Any]) -> list[str]:
    """The options for the geometry and size of the shards."""
    stated = _geometry(geometry)
    size = stated.get("size")
    if isinstance(size, list):
        stated["size"] = ("," if geometry["name"] == "keep_ratio" else "x").join(map(str, size))
    return [word for name, value in stated.items() for word in (f"--{name}", str(value))]


def _geometry(geometry: Mapping[str, Any]) -> dict[str, Any]:
    size = geometry["size"]
    if geometry["name"] in CROPPED and isinstance(size, list):
        return {"geometry": geometry["name"], "size": size[0], "resize": size[1]}
    return {"geometry": geometry["name"], **({"size": size} if size is not None else {})}
