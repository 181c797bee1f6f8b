"""Results like a scoring run's, made without one: any variants, with known costs by method."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from generators.registry import METHODS
from generators.variant import parse, reference
from pipelines.evaluate.results import Results, Unscored, compare
from pipelines.evaluate.statistics import Comparison, paired_bootstrap, paired_proportions
from pipelines.evaluate.task import OnShards, Score
from pipelines.shards import FinishedVariant, Shards
from pipelines.store import Disk

DATASETS = {"top1": "imagenet", "map": "coco", "miou": "cityscapes"}
GEOMETRIES = {"imagenet": ("crop", 224), "coco": ("letterbox", 640), "cityscapes": ("identity", None)}
COUNTED = {"top1": "images", "map": "objects", "miou": "pixels"}


class Made(FinishedVariant):
    """A variant without a folder."""

    def table(self, *columns: str) -> pa.Table:
        return pa.table({name: [f"image_{place}" for place in range(self.summary["count"])] for name in columns})


@dataclass(frozen=True)
class MadeTask(OnShards):
    """Compares hits (top-1) or one figure for each image, averaged (the others)."""

    metric: str
    keys: list[str]
    weights: NDArray[np.float64]

    @property
    def counted(self) -> str:
        return COUNTED[self.metric]

    def score(self, variant: str, path: Path) -> Generator[int, None, Score]:
        raise AssertionError("these scores are made up, and no file is read")

    def between(self, better: Score, worse: Score) -> Comparison:
        if self.metric == "top1":
            lost, gained = better.basis & ~worse.basis, worse.basis & ~better.basis
            return paired_proportions(int(lost.sum()), int(gained.sum()), len(lost))
        difference = better.basis - worse.basis
        return paired_bootstrap(float(difference.mean()), self.weights @ difference / len(difference))

    def scored(self, base: NDArray[np.float64], own: NDArray[np.float64]) -> Score:
        """A score from one figure for each image, 0 to 1, against the reference's."""
        basis = own > 0.3 if self.metric == "top1" else own
        theirs = base > 0.3 if self.metric == "top1" else base
        first = Score({self.metric: float(theirs.mean())}, Comparison(0, 0, 0, 1), np.zeros(0, np.int64), 0, theirs)
        compared = self.between(first, first._replace(basis=basis))
        figures = {self.metric: float(basis.mean())}
        if self.metric == "top1":
            figures["top5"] = float((own > 0.1).mean())
        lost = np.maximum(np.sign((base > 0.3).astype(np.int64) - (own > 0.3)), 0)
        gained = int(((own > 0.3) & ~(base > 0.3)).sum())
        return Score(figures, compared, lost, gained, basis)


def made(
    metric: str,
    costs: Mapping[str, float],
    compositions: Sequence[str] = (),
    reasons: Mapping[str, str] | None = None,
    unchanged: Collection[str] = (),
    count: int = 150,
    model: str = "resnet18",
) -> Results:
    """Results of variants with one method each, whose images are worse by `costs` on average, and of compositions."""
    dataset = DATASETS[metric]
    name, size = GEOMETRIES[dataset]
    base = reference(resizes=name != "identity")
    random = np.random.default_rng(7)
    truth = random.uniform(0, 1, count)
    noises = {token: cost * random.exponential(size=count) for token, cost in costs.items()}

    def summary(token: str) -> dict[str, object]:
        variant = parse(token, base)
        residual = sum(abs(costs[m]) for m in variant.pixels.split("+") if m in costs)
        return {
            "variant": variant.spelled_out,
            "geometry": {"name": name, "size": size},
            "config": {
                **{"dataset": dataset, "geometry": name, "size": size, "reference": "pil+pil_bilinear"},
                **{"source": {"kind": "folder"}, "image_format": "png", "samples_per_shard": 1000},
            },
            "config_sha256": "0" * 64,
            "pixels_sha256": variant.pixels if residual else base.name,
            "residual": {"mean_abs": 30 * residual, "degenerate": residual == 0},
            "provenance": {"libraries": {"Pillow": "13.0.0", "opencv-python-headless": "5.0.0"}},
            "count": count,
        }

    root = Disk("out") / dataset
    pixels = {parse(text, base).pixels for text in (base.name, *costs, *compositions)}
    variants = {token: Made(token, root / token, summary(token)) for token in sorted(pixels)}
    noised = [parse(text, base) for text in (*costs, *compositions)]
    shards = Shards(root, variants[base.name], variants, ()).with_noise(noised)
    order = [*dict.fromkeys([base.name, *costs, *compositions])]
    rank = {token: place for place, token in enumerate(METHODS)}
    order[1:] = sorted(order[1:], key=lambda text: (text.count("+"), rank.get(text.partition("+")[0], 0)))
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=2000).astype(np.float64)
    task = MadeTask(metric, [f"image_{place}" for place in range(count)], weights)
    scores = {
        text: task.scored(truth, np.clip(truth - sum(noises[m] for m in text.split("+") if m in noises), 0, 1))
        for text in order
    }
    return compare(model, shards, task, scores, Unscored(reasons or {}, f"{model}.onnx"), unchanged, ())


def whole(metric: str, costs: Mapping[str, float], **options: Any) -> Results:
    """The same, with every composition that the steps need."""
    compositions: list[str] = []
    while True:
        results = made(metric, costs, compositions, **options)
        if not results.missing:
            return results
        compositions += results.missing


PIXELS = {
    **{"opencv": 0.0, "dali": 0.0, "ffmpeg": 0.006, "pil_nearest": 0.05, "pil_box": 0.02, "pil_hamming": 0.012},
    **{"pil_bicubic": 0.004, "pil_lanczos": 0.006, "opencv_nearest": 0.052, "opencv_bilinear": 0.03},
    **{"opencv_area": 0.003, "opencv_bicubic": 0.031, "opencv_lanczos": 0.033, "dali_linear": 0.03},
    **{"ffmpeg_bilinear": 0.004, "nv12_ascend": 0.012, "nv12_opencv": 0.008, "yuv444_float": -0.001},
}
MODEL = {
    **{"ceil_mode": 0.01, "floor_mode": 0.0, "upsample_bilinear": 0.012, "upsample_bilinear_corners": 0.02},
    **{"fp16": 0.0, "int8": 0.02, "int8_tensor": 0.05, "box_offset": 0.02, "box_round": 0.004},
}
