"""Darknet's mean average precision: curves of precision over recall, and the area under them."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from darknet_py.errors import DarknetError, printable
from darknet_py.evaluation.matching import DetectionTable, GroundTruth, firsts, matched

MOST_POINTS = 100_000       # of recall


class Curve(NamedTuple):
    """The detections of a class, by falling score: (D,) float32 score, (D,) whether it is right; and how many objects
    there are."""

    scores: np.ndarray
    right: np.ndarray
    objects: int

    def precision(self) -> np.ndarray:
        """(D,) how many of the detections up to each are right, in [0, 1]."""
        return self.right.cumsum() / np.arange(1, len(self.right) + 1)

    def recall(self) -> np.ndarray:
        """(D,) how many of the objects are found up to each, in [0, 1]."""
        return self.right.cumsum() / max(1, self.objects)

    def f1(self) -> np.ndarray:
        """(D,) the harmonic mean of both."""
        return 2 * self.right.cumsum() / (np.arange(1, len(self.right) + 1) + self.objects)

    def area(self, points: int) -> float:
        """Average precision; see ``average_precision`` for points."""
        if not len(self.right) or not self.objects:
            return 0.
        best = np.maximum.accumulate(self.precision()[::-1])[::-1]      # at this recall or more
        if points == 0:
            return float(best[self.right].sum() / self.objects)
        at = np.searchsorted(self.recall(), np.arange(points) / (points - 1))
        return float(np.append(best, 0)[at].mean())


@dataclass(frozen=True, eq=False)
class MapResult:
    """The result of ``detector map``.

    Attributes:
        names: of the classes.
        ap: (C,) average precision in [0, 1]; 0 for a class without objects.
        objects: (C,) how many there are.
        tp, fp: (C,) right and wrong detections with a score above ``thresh``.
        average_iou: of the right ones with their objects, the wrong ones counted as 0.
        detections: how many there are of any score.
        iou_thresh, points, thresh: see ``average_precision``.
        curves: of each class.
        problems: why images and labels were left out, a line each.
    """

    names: Sequence[str]
    ap: np.ndarray
    objects: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    average_iou: float
    detections: int
    iou_thresh: float
    points: int
    thresh: float
    curves: tuple[Curve, ...]
    problems: tuple[str, ...] = ()

    @property
    def map(self) -> float:
        """The mean over all classes, also those without objects, as in C."""
        return float(self.ap.mean())

    @property
    def fn(self) -> int:
        """Objects that no detection above ``thresh`` found."""
        return int(self.objects.sum() - self.tp.sum())

    @property
    def precision(self) -> float:
        return _ratio(self.tp.sum(), self.tp.sum() + self.fp.sum())

    @property
    def recall(self) -> float:
        return _ratio(self.tp.sum(), self.objects.sum())

    @property
    def f1(self) -> float:
        return _ratio(2 * self.precision * self.recall, self.precision + self.recall)

    def __repr__(self) -> str:
        return (f"{type(self).__name__}(mAP@{self.iou_thresh:.2f} {self.map:.2%} of {len(self.names)} classes; "
                f"precision {self.precision:.2f}, recall {self.recall:.2f} above {self.thresh:g})")

    def text(self) -> str:
        """Darknet's printout. Where C divides 0 by 0 and prints nan, this has 0."""
        classes = "".join(
            f"class_id = {label}, name = {printable(name)}, ap = {ap * 100:2.2f}%   \t (TP = {tp}, FP = {fp}) \n"
            for label, (name, ap, tp, fp) in enumerate(zip(self.names, self.ap, self.tp, self.fp, strict=True)))
        how = f"used {self.points} Recall-points" if self.points else "used Area-Under-Curve for each unique Recall"
        return (
            f"\n detections_count = {self.detections}, unique_truth_count = {self.objects.sum()}  \n{classes}"
            f"\n for conf_thresh = {self.thresh:1.2f}, precision = {self.precision:1.2f}, recall = {self.recall:1.2f}, "
            f"F1-score = {self.f1:1.2f} \n"
            f" for conf_thresh = {self.thresh:1.2f}, TP = {self.tp.sum()}, FP = {self.fp.sum()}, FN = {self.fn}, "
            f"average IoU = {self.average_iou * 100:2.2f} % \n"
            f"\n IoU threshold = {self.iou_thresh * 100:2.0f} %, {how} \n"
            f" mean average precision (mAP@{self.iou_thresh:1.2f}) = {self.map:f}, or {self.map * 100:2.2f} % \n")


def check_settings(iou_thresh: float, points: int) -> None:
    """Raises:
        DarknetError: the arguments of ``average_precision`` are out of range.
    """
    if not 0 <= iou_thresh < 1:
        raise DarknetError(f"iou_thresh needs a number from 0 to below 1, found {iou_thresh:g}")
    if points == 1 or not 0 <= points <= MOST_POINTS:
        raise DarknetError(f"points needs 0, or a number from 2 to {MOST_POINTS}, such as 11 or 101; found {points}")


def average_precision(detections: DetectionTable, objects: GroundTruth, names: Sequence[str], *, iou_thresh: float = .5,
                      points: int = 0, thresh: float = .25) -> MapResult:
    """Average precision of each class: match detections with ground truth, and integrate precision over recall.

    A detection is matched with the object of its image and class that it overlaps most, if by more than ``iou_thresh``.
    Of several with one object that of the highest score is right, the others are wrong. One that is matched with none,
    but overlaps a difficult object of its class, does not count. Of equal scores the earlier one goes first.

    ``tp``, ``fp`` and ``average_iou`` count detections of a score above ``thresh``, and there not the highest score of
    an object is right, but the first in the order of ``detections``, so none if that one's score is below.

    Args:
        names: of the classes, which number the labels.
        iou_thresh: in [0, 1).
        points: 0 for the area under the curve of precision over recall, made to fall; else the mean precision at so
            many recalls from 0 to 1, at least 2: 101 as COCO does, 11 as Pascal VOC 2007.

    Raises:
        ValueError: points is 1 or negative, or a label has no name.

    Darknet: validate_detector_map, except that its sorting need not be stable, and that it counts detections of
    difficult objects as wrong ones in ``fp``.
    """
    if points < 0 or points == 1:
        raise ValueError(f"points must be 0 or at least 2, got {points}")
    classes = len(names)
    for labels in (detections.labels, objects.labels):
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(f"labels must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    (_, labels, scores, _), easy, match, overlap = matched(detections, objects, iou_thresh)
    sure, first = scores > np.float32(thresh), firsts(match)
    order = np.lexsort((-scores, labels))
    ends = np.bincount(labels, minlength=classes).cumsum()[:-1]
    totals = np.bincount(easy.labels, minlength=classes)
    curves = tuple(map(Curve, np.split(scores[order], ends), np.split(firsts(match[order]), ends), totals.tolist()))
    return MapResult(
        names, np.array([curve.area(points) for curve in curves]), totals,
        np.bincount(labels[sure & first], minlength=classes), np.bincount(labels[sure & ~first], minlength=classes),
        _ratio(overlap[sure & first].sum(dtype=np.float64), sure.sum()), len(labels), iou_thresh, points, thresh,
        curves)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.
