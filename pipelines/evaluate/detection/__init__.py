"""COCO mAP (IoU 0.50:0.95, all areas, 100 detections per image) of boxes or masks, also for resampled images.

pycocotools computes IoUs, and every figure equals its own. Its matching and accumulation, which loop over images, are
done here over whole files. Accumulation is weighted, so that thousands of resamples need no second matching: an image
that is drawn twice counts twice.
"""

from pipelines.evaluate.detection.annotations import Annotations, open_annotations
from pipelines.evaluate.detection.results import IouType, Reading
from pipelines.evaluate.detection.task import Detection

__all__ = ["Annotations", "Detection", "IouType", "Reading", "open_annotations"]
