"""COCO mAP (IoU 0.50:0.95, all areas, 100 detections an image) of boxes or masks, and the same for resampled images.

IoUs are pycocotools', and so is every figure. Its matching and its accumulation, which are loops over images, are done
here over whole files, the latter in a weighted form, so that thousands of resamples need no second matching: an image
that is drawn twice counts twice.
"""

from pipelines.evaluate.detection.annotations import Annotations, open_annotations
from pipelines.evaluate.detection.results import IouType, Reading
from pipelines.evaluate.detection.task import Detection

__all__ = ["Annotations", "Detection", "IouType", "Reading", "open_annotations"]
