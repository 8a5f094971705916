"""COCO's average precision of detections, computed by pycocotools."""
from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from darknet_py.data.coco import category_ids, category_name, coco_categories, read_coco_json
from darknet_py.errors import DataError, Reason
from darknet_py.evaluation.matching import DetectionTable, GroundTruth
from darknet_py.ops.boxes import cxcywh_to_xyxy

STEPS = 1000                # of pycocotools between two calls of progress
NONE = -1.                  # pycocotools' value of a measure without objects
FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class CocoTruth(NamedTuple):
    """COCO's annotations of a list of images.

    data: with images, annotations and categories. images: id of each image of the list. categories: id of each class,
    None for one that is no category.
    """

    data: dict[str, Any]
    images: list[int]
    categories: list[int | None]


@dataclass(frozen=True, eq=False)
class CocoResult:
    """COCO's twelve figures, and the first two of each class.

    Attributes:
        figures: name -> value in [0, 1], or -1 where there is no object to find. AP is the mean over overlaps from .5
            to .95 and over classes, AP50 and AP75 are those at one overlap; s, m and l stand for objects below 32 x 32
            pixels, up to 96 x 96, and larger; AR is the recall with at most so many detections in an image.
        ap, ap50: (C,) of each class.
        settings: of the post-processing, in words.
    """

    figures: dict[str, float]
    ap: np.ndarray
    ap50: np.ndarray
    settings: str = ""


def read_truth(path: str | os.PathLike, names: Sequence[str]) -> CocoTruth:
    """The annotations of a COCO instances JSON, whose images are ``read_samples(path)``.

    Raises:
        DataError: no such JSON, or one without annotations (that of a test set).
    """
    data = read_coco_json(path)
    if "annotations" not in data:
        raise DataError(f"{path}: has no annotations to measure with; detector valid writes results to send in",
                        Reason.MISSING_KEY)
    for number, entry in enumerate(data["annotations"], 1):
        entry["id"] = number                # pycocotools keeps them as floats, and takes 0 for no match
        entry["iscrowd"] = int(entry.get("iscrowd") or 0)
        if entry.get("area") is None:
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]
    return CocoTruth(data, *ids_of(path, data, names))


def ids_of(path: str | os.PathLike, data: dict[str, Any], names: Sequence[str]) -> tuple[list[int], list[int | None]]:
    """The ids of a COCO JSON's images, in its order, and of the classes; None for a class that it does not have."""
    known = {category_name(name): number for number, name in coco_categories(path, data)}
    return [image["id"] for image in data["images"]], [known.get(category_name(name)) for name in names]


def make_truth(objects: GroundTruth, sizes: np.ndarray, names: Sequence[str]) -> CocoTruth:
    """Annotations from labels: areas are those of the boxes, difficult objects are crowds, which need not be found.

    Args:
        sizes: (N, 2) height and width of the images in pixels.
    """
    ids = category_ids(names)
    low, high = (part.reshape(-1, 2) for part in np.split(_corners(objects.boxes, objects.images, sizes), 2, 1))
    return CocoTruth({
        "images": [{"id": number, "height": height, "width": width}
                   for number, (height, width) in enumerate(sizes.tolist(), 1)],
        "categories": [{"id": number, "name": name} for number, name in zip(ids, names, strict=True)],
        "annotations": [
            {"id": number, "image_id": image + 1, "category_id": ids[label], "bbox": [x, y, w, h], "area": w * h,
             "iscrowd": int(difficult)}
            for number, (image, label, (x, y), (w, h), difficult) in enumerate(zip(
                objects.images.tolist(), objects.labels.tolist(), low.tolist(), (high - low).tolist(),
                objects.difficult.tolist(), strict=True), 1)]}, list(range(1, len(sizes) + 1)), list(ids))


def coco_average_precision(detections: DetectionTable, objects: GroundTruth, sizes: np.ndarray, names: Sequence[str],
                           truth: CocoTruth | None = None, progress: Callable[[int, int], None] | None = None
                           ) -> CocoResult:
    """COCO's twelve figures of detections.

    Args:
        detections, objects: of images that are numbered from 0.
        sizes: (N, 2) height and width of the images in pixels; those of height 0 were not looked at.
        names: of the classes.
        truth: the images' annotations; None makes them from ``objects``.
        progress: called now and then with how many steps are done, of how many.

    pycocotools: COCOeval for boxes, whose parameters are COCO's: overlaps from .5 to .95, 101 recalls, of each image
    and class the 100 detections of the highest scores.
    """
    from pycocotools.cocoeval import COCOeval
    truth = make_truth(objects, sizes, names) if truth is None else truth
    kept = [number for number in truth.categories if number is not None]
    with contextlib.redirect_stdout(io.StringIO()):         # pycocotools prints what it does
        ground = _index(truth.data)
        results = _index({"images": truth.data["images"], "categories": truth.data["categories"],
                          "annotations": list(_annotations(detections, sizes, truth))})
        measure = COCOeval(ground, results, "bbox")
        measure.params.imgIds = [truth.images[image] for image in sizes[:, 0].nonzero()[0]]
        measure.params.catIds = kept
        if progress is not None:
            steps = len(measure.params.imgIds) * len(kept) * len(measure.params.areaRng)
            measure.evaluateImg = _counted(measure.evaluateImg, steps, progress)
        measure.evaluate()
        measure.accumulate()
        measure.summarize()
    precision = measure.eval["precision"][:, :, :, 0, 2]    # (overlaps, recalls, classes), all sizes, 100 an image
    ap, ap50 = np.full((2, len(names)), NONE)
    for label, number in enumerate(truth.categories):
        part = precision[:, :, measure.params.catIds.index(number)] if number is not None else np.zeros(0)
        if (part > NONE).any():
            ap[label], ap50[label] = part[part > NONE].mean(), part[0][part[0] > NONE].mean()
    return CocoResult(dict(zip(FIGURES, measure.stats.tolist(), strict=True)), ap, ap50)


def clipped_boxes(detections: DetectionTable, sizes: np.ndarray, first: int = 0) -> np.ndarray:
    """(D, 4) float64 left, top, right, bottom in pixels, cut off at the images' edges.

    Args:
        sizes: (N, 2) height and width of the images.
        first: the number of the first pixel, 1 in Pascal VOC.
    """
    corners = _corners(detections.boxes, detections.images, sizes) + first
    return np.clip(corners, first, np.tile(sizes[detections.images][:, ::-1], 2))


def _corners(boxes: np.ndarray, images: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(K, 4) relative cxcywh to (K, 4) xyxy in pixels."""
    return cxcywh_to_xyxy(torch.from_numpy(boxes).double()).numpy() * np.tile(sizes[images][:, ::-1], 2)


def _annotations(detections: DetectionTable, sizes: np.ndarray, truth: CocoTruth):
    """Detections of known categories, in pycocotools' format."""
    columns = detections.images, detections.labels, detections.scores, clipped_boxes(detections, sizes)
    for number, (image, label, score, (left, top, right, bottom)) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), 1):
        if (category := truth.categories[label]) is not None:
            w, h = right - left, bottom - top
            yield {"id": number, "image_id": truth.images[image], "category_id": category, "score": score,
                   "bbox": [left, top, w, h], "area": w * h, "iscrowd": 0}


def _counted(step: Callable[..., Any], total: int, progress: Callable[[int, int], None]) -> Callable[..., Any]:
    """A function that reports to progress how often it was called."""
    done = 0

    def counted(*arguments: Any) -> Any:
        nonlocal done
        done += 1
        if done % STEPS == 0 or done == total:
            progress(done, total)
        return step(*arguments)

    return counted


def _index(data: dict[str, Any]):
    from pycocotools.coco import COCO
    coco = COCO()
    coco.dataset = data
    coco.createIndex()
    return coco
