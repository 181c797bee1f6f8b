"""Outputs of each head for images with known objects, and independent decoders for them.

A scene has boxes with a score for each class. An encoder turns it into what a network would output; a decoder, written
box by box in double precision from the repositories' formulas, reads it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 192
# Category ids and their indices in COCO's list of 80 classes: person, train and toothbrush.
PLACES = {1: 0, 7: 6, 90: 79}
ID_OF = {place: number for number, place in PLACES.items()}

Array = NDArray[np.float64]
Named = dict[str, NDArray[np.generic]]
# Corners in input pixels, score and category id, in any order.
Read = list[tuple[Array, float, int]]


class Scene(NamedTuple):
    """Corners (n, 4) in input pixels, and scores (n, 80)."""

    corners: Array
    scores: Array


def scene(truth: Sequence[tuple[Array, int]], seed: int) -> Scene:
    """Three boxes near each object (a box and a category id), and some boxes without one."""
    random = np.random.default_rng(seed)
    near = [box + random.normal(0, 4, 4) for box, _ in truth for _ in range(3)]
    places = [PLACES[number] for _, number in truth for _ in range(3)]
    for _ in range(12):
        corner = random.uniform(0, 120, 2)
        near.append(np.concatenate([corner, corner + random.uniform(15, 60, 2)]))
        places.append(int(random.choice(list(PLACES.values()))))
    scores = random.uniform(0, 0.0005, (len(near), 80))
    for row, place in enumerate(places):
        scores[row, int(random.choice(list(PLACES.values())))] = random.uniform(0.05, 0.3)
        scores[row, place] = random.uniform(0.3, 0.95)
    return Scene(np.array(near), scores)


def centred(corners: Array) -> Array:
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def logit(share: Array) -> Array:
    found: Array = np.log(share / (1 - share))
    return found


def single(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)


def best(made: Scene) -> tuple[NDArray[np.int64], Array]:
    """The best class of each box, and its score."""
    return made.scores.argmax(axis=1), made.scores.max(axis=1)


# Encoders: outputs with a batch axis


def yolov5(made: Scene) -> Named:
    rows = np.zeros((3 * 756, 85))
    rows[:, :4] = (96, 96, 8, 8)
    objectness = np.full((len(made.corners), 1), 0.98)
    rows[: len(made.corners)] = np.hstack([centred(made.corners), objectness, made.scores / 0.98])
    return {"output0": single(rows[None])}


def yolov8(made: Scene, unit: float = 1) -> Named:
    """With a box for each cell of the input, most without an object."""
    rows = np.zeros((756, 84))
    rows[:, :4] = (96, 96, 8, 8)
    rows[: len(made.corners)] = np.hstack([centred(made.corners), made.scores])
    rows[:, :4] /= unit
    return {"output0": single(rows.T[None])}


def yolov8_shares(made: Scene) -> Named:
    return yolov8(made, SIDE)


def end_to_end(made: Scene) -> Named:
    classes, scores = best(made)
    rows = np.column_stack([made.corners, scores, classes])
    return {"output0": single(np.vstack([rows, np.zeros((300 - len(rows), 6))])[None])}


def yolov7_end_to_end(made: Scene) -> Named:
    classes, scores = best(made)
    return {"output": single(np.column_stack([0 * scores, made.corners, classes, scores]))}


def detr(made: Scene) -> Named:
    chances = np.zeros((len(made.corners), 92))
    chances[:, list(PLACES)] = made.scores[:, list(PLACES.values())]
    chances /= np.maximum(1, 1.02 * chances.sum(axis=1, keepdims=True))
    chances[:, -1] = 1 - chances.sum(axis=1)
    logits = single(np.log(chances + 1e-9) + 3)
    hidden = single(np.zeros((1, len(logits), 256)))
    return {"logits": logits[None], "pred_boxes": single(centred(made.corners) / SIDE)[None], "hidden": hidden}


def rt_detr(made: Scene) -> Named:
    return {
        "pred_boxes": single(centred(made.corners) / SIDE)[None],
        "pred_logits": single(logit(made.scores + 1e-6))[None],
    }


def chosen(made: Scene) -> Named:
    """Outputs like those of torchvision's models."""
    classes, scores = best(made)
    ids = np.array([ID_OF[place] for place in classes.tolist()], np.int64)
    return {"2716": single(made.corners), "2718": ids, "2717": single(scores)}


def ssd(made: Scene) -> Named:
    """Outputs like those of TensorFlow's models, padded with unused rows."""
    classes, scores = best(made)
    ids = [ID_OF[place] for place in classes.tolist()]
    boxes = np.vstack([made.corners[:, [1, 0, 3, 2]] / SIDE, np.full((7, 4), 0.5)])
    return {
        "num_detections": single(np.array([len(ids)])),
        "detection_classes": single(np.array([ids + [1] * 7])),
        "raw_detection_boxes": single(np.zeros((1, 60, 4))),
        "detection_scores": single(np.hstack([scores, np.full(7, 0.5)])[None]),
        "detection_boxes": single(boxes[None]),
    }


def fastestdet(made: Scene) -> Named:
    """Each cell of 16 pixels has the last box whose centre lies in it."""
    cells = SIDE // 16
    out = np.zeros((85, cells, cells))
    out[0], out[5:] = 1e-6, 1 / 80
    for box, scores in zip(centred(made.corners), made.scores, strict=True):
        column, row = (int(value // 16) for value in box[:2])
        if 0 <= column < cells and 0 <= row < cells:
            sides = logit(np.clip(box[2:] / SIDE, 0.01, 0.99))
            shift = np.arctanh(np.clip(box[:2] / 16 - (column, row), 0.01, 0.99))
            out[:, row, column] = np.concatenate([[scores.max()], shift, sides, scores / scores.sum()])
    return {"758": single(out[None])}


# Decoders


def categories() -> list[int]:
    return [number for number in range(1, 91) if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


def cornered(box: Array, side: float = 1) -> Array:
    x, y, w, h = box * side
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


def overlaps(one: Array, others: Array) -> Array:
    shared = np.prod(np.clip(np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2]), 0, None), axis=1)
    areas = np.prod(one[2:] - one[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1)
    found: Array = shared / (areas - shared)
    return found


def suppressed(found: Read, iou: float) -> Read:
    """In each class, the best box removes those that overlap it."""
    kept: Read = []
    for number in {number for *_, number in found}:
        left = sorted((one for one in found if one[2] == number), key=lambda one: -one[1])
        while left:
            best, *others = left
            kept.append(best)
            removed = overlaps(best[0], np.array([box for box, *_ in others]).reshape(-1, 4)) > iou
            left = [one for one, is_removed in zip(others, removed, strict=True) if not is_removed]
    return kept


def sigmoid(values: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-values))
    return found


def double(outputs: Named, name: str) -> Array:
    found: Array = outputs[name].astype(np.float64)
    return found


def read_yolov5(outputs: Named) -> Read:
    found = [
        (cornered(row[:4]), row[4] * chance, number)
        for row in double(outputs, "output0")[0]
        if row[4] > 0.001
        for chance, number in zip(row[5:], categories(), strict=True)
    ]
    return suppressed([one for one in found if one[1] > 0.001], 0.65)


def read_yolov8(outputs: Named, side: float = 1) -> Read:
    found = [
        (cornered(row[:4], side), row[4 + place], categories()[place])
        for row in double(outputs, "output0")[0].T
        for place in np.flatnonzero(row[4:] > 0.001)
    ]
    return suppressed(found, 0.7)


def read_yolov8_shares(outputs: Named) -> Read:
    return read_yolov8(outputs, SIDE)


def read_end_to_end(outputs: Named) -> Read:
    rows = double(outputs, "output0")[0]
    return [(row[:4], row[4], categories()[int(row[5])]) for row in rows if row[4] > 0.001]


def read_yolov7_end_to_end(outputs: Named) -> Read:
    return [(row[1:5], row[6], categories()[int(row[5])]) for row in double(outputs, "output")]


def read_detr(outputs: Named) -> Read:
    found = []
    for logits, box in zip(double(outputs, "logits")[0], double(outputs, "pred_boxes")[0], strict=True):
        chances = np.exp(logits) / np.exp(logits).sum()
        found.append((cornered(box, SIDE), float(chances[:-1].max()), int(chances[:-1].argmax())))
    return found


def read_rt_detr(outputs: Named) -> Read:
    scores = sigmoid(double(outputs, "pred_logits")[0]).ravel()
    best = np.argsort(-scores)[:300]
    boxes = double(outputs, "pred_boxes")[0]
    return [(cornered(boxes[place // 80], SIDE), scores[place], categories()[place % 80]) for place in best]


def read_chosen(outputs: Named) -> Read:
    return list(zip(double(outputs, "2716"), double(outputs, "2717"), outputs["2718"].tolist(), strict=True))


def read_ssd(outputs: Named) -> Read:
    found: Read = []
    for place in range(int(outputs["num_detections"][0])):
        top, left, bottom, right = double(outputs, "detection_boxes")[0, place]
        score, number = (double(outputs, f"detection_{name}")[0, place] for name in ("scores", "classes"))
        found.append((np.array([left, top, right, bottom]) * SIDE, score, int(number)))
    return found


def read_fastestdet(outputs: Named) -> Read:
    """As in FastestDet.cpp, with the suppression of `handle_preds`."""
    cells = double(outputs, "758")[0]
    _, rows, columns = cells.shape
    found: Read = []
    for row, column in np.ndindex(rows, columns):
        cell = cells[:, row, column]
        score = cell[0] ** 0.6 * cell[5:].max() ** 0.4
        centre = (column + np.tanh(cell[1])) / columns, (row + np.tanh(cell[2])) / rows
        box = cornered(np.array([*centre, *sigmoid(cell[3:5])]), 16 * rows)
        found.append((box, float(score), categories()[int(cell[5:].argmax())]))
    return suppressed([one for one in found if one[1] > 0.001], 0.45)


class Exported(NamedTuple):
    """The head that reads a kind of export, and the encoder and decoder of its outputs."""

    head: str
    encode: Callable[[Scene], Named]
    decode: Callable[[Named], Read]


EXPORTED: Mapping[str, Exported] = {
    "yolov5": Exported("yolov5", yolov5, read_yolov5),
    "yolov8": Exported("yolov8", yolov8, read_yolov8),
    "yolov8 in shares": Exported("yolov8", yolov8_shares, read_yolov8_shares),
    "yolov10": Exported("end_to_end", end_to_end, read_end_to_end),
    "yolov7 --end2end": Exported("end_to_end", yolov7_end_to_end, read_yolov7_end_to_end),
    "detr": Exported("detr", detr, read_detr),
    "rt_detr": Exported("rt_detr", rt_detr, read_rt_detr),
    "torchvision": Exported("torchvision", chosen, read_chosen),
    "ssd": Exported("ssd", ssd, read_ssd),
    "fastestdet": Exported("fastestdet", fastestdet, read_fastestdet),
}
