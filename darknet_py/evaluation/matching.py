"""Matching of detections with ground truth."""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from darknet_py.ops.boxes import iou

PAIRS = 1 << 20         # detections against objects at a time


class DetectionTable(NamedTuple):
    """Detections of many images: (D,) image number, (D,) class, (D,) float32 score, (D, 4) float32 cxcywh."""

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray


class GroundTruth(NamedTuple):
    """Ground-truth objects of many images: (T,) image number, (T,) class, (T, 4) float32 cxcywh, (T,) bool difficult:
    they need not be detected, and their detections do not count."""

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    difficult: np.ndarray


def firsts(match: np.ndarray) -> np.ndarray:
    """(D,) whether a detection is the first that is matched with its object; one without an object (-1) is not."""
    first = np.zeros(len(match), bool)
    first[np.unique(match, return_index=True)[1]] = True
    return first & (match >= 0)


def matched(detections: DetectionTable, objects: GroundTruth, iou_thresh: float
            ) -> tuple[DetectionTable, GroundTruth, np.ndarray, np.ndarray]:
    """The detections that count, the objects that are not difficult, and ``best_match`` of these.

    A detection that overlaps a difficult object of its class, and no other, does not count.
    """
    easy = GroundTruth(*(column[~objects.difficult] for column in objects))
    hard = GroundTruth(*(column[objects.difficult] for column in objects))
    match, overlap = best_match(detections, easy, iou_thresh)
    counts = (match >= 0) | (best_match(detections, hard, iou_thresh)[0] < 0)
    return DetectionTable(*(column[counts] for column in detections)), easy, match[counts], overlap[counts]


def best_match(detections: DetectionTable, objects: GroundTruth, iou_thresh: float) -> tuple[np.ndarray, np.ndarray]:
    """For each detection the object of its image and class that it overlaps most, the first of equals.

    Returns:
        (D,) its number in ``objects``, -1 where none overlaps by more than the threshold, and (D,) float32 how much.
    """
    match, overlap = np.full(len(detections.labels), -1), np.zeros(len(detections.labels), np.float32)
    classes = 1 + max(objects.labels.max(initial=0), detections.labels.max(initial=0))
    for detection, truth, value in pairs(detections.images * classes + detections.labels, detections.boxes,
                                         objects.images * classes + objects.labels, objects.boxes):
        near = value > np.float32(iou_thresh)
        keep_best(match, overlap, detection[near], truth[near], value[near])
    return match, overlap


def keep_best(match: np.ndarray, overlap: np.ndarray, detection: np.ndarray, truth: np.ndarray, value: np.ndarray
              ) -> None:
    """Note in (D,) ``match`` and ``overlap`` the best pair of each detection in (P,) detection, truth, value."""
    ranked = np.lexsort((-value, detection))
    detection, first = np.unique(detection[ranked], return_index=True)
    match[detection], overlap[detection] = truth[ranked[first]], value[ranked[first]]


def pairs(detections: np.ndarray, boxes: np.ndarray, objects: np.ndarray, truths: np.ndarray
          ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All pairs of detections and objects of equal keys with their IoU, in parts that fit into memory.

    Args:
        detections, objects: (D,) and (T,) keys, such as the image's number.
        boxes, truths: (D, 4) and (T, 4) cxcywh.

    Yields:
        (P,) number of the detection, (P,) of the object, (P,) float32 IoU. All pairs of a detection come in one part,
        its objects in order.
    """
    order = np.argsort(objects, kind="stable")      # objects of one key stand together, each detection has a range
    start, end = (np.searchsorted(objects[order], detections, side) for side in ("left", "right"))
    counts = end - start
    if not counts.any():
        return
    for part in np.split(np.arange(len(detections)), np.diff(counts.cumsum() // PAIRS).nonzero()[0] + 1):
        detection = np.repeat(part, counts[part])
        within = np.arange(len(detection)) - np.repeat(counts[part].cumsum() - counts[part], counts[part])
        truth = order[start[detection] + within]
        yield detection, truth, iou(torch.from_numpy(boxes[detection]), torch.from_numpy(truths[truth])).numpy()
