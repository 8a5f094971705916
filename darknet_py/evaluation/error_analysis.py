"""Error analysis of a detector: the confusion matrix, and each error with its kind, in TIDE's terms.

Source: Bolya, Foley, Hays, Hoffman, TIDE: A General Toolbox for Identifying Object Detection Errors, 2020.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from darknet_py.evaluation.matching import DetectionTable, GroundTruth, firsts, keep_best, matched, pairs

KINDS = ("background", "localization", "classification", "duplicate", "missed")
BACKGROUND_IOU = .1     # a wrong detection that overlaps objects by no more is a background error
NONE = -1


class Mistake(NamedTuple):
    """One wrong detection, or one missed object.

    kind: "background": it overlaps no object; "localization": it overlaps an object of its class, but too little;
        "classification": it overlaps an object of another class; "duplicate": a detection with a higher score is
        matched with its object; "missed": an object without a detection.
    image: its number. label: the class, of the object where it was missed. score: of the detection; 0 for a missed one.
    box: (4,) cxcywh, relative. other: class of the object that it overlaps, -1 for none. overlap: with that object.
    """

    kind: str
    image: int
    label: int
    score: float
    box: np.ndarray
    other: int
    overlap: float


@dataclass(frozen=True, eq=False)
class Mistakes:
    """All errors above a score.

    Attributes:
        names: of the classes.
        counts: (C, len(KINDS)) of each class and kind, a missed object's under its own class, else the detection's.
        confusion: (C + 1, C + 1) of objects (rows) and detections (columns) that are matched, one to one, whatever
            their classes; the last row and column are background, for wrong detections and missed objects.
        all: wrong detections, by falling score, then missed objects, the largest first.
    """

    names: Sequence[str]
    counts: np.ndarray
    confusion: np.ndarray
    all: list[Mistake]

    def worst(self, count: int, each: int = 2) -> list[Mistake]:
        """The first ``count`` errors, wrong detections and missed objects in turn, ``each`` an image and kind."""
        queues: list[list[Mistake]] = [[], []]
        seen: dict[tuple[int, str], int] = {}
        for mistake in self.all:
            key = mistake.image, mistake.kind
            seen[key] = seen.get(key, 0) + 1
            if seen[key] <= each:
                queues[mistake.kind == "missed"].append(mistake)
        taken: list[Mistake] = []
        while len(taken) < count and any(queues):
            taken += [queue.pop(0) for queue in queues if queue]
        return taken[:count]


def find_mistakes(detections: DetectionTable, objects: GroundTruth, names: Sequence[str], iou_thresh: float = .5,
                  thresh: float = .25) -> Mistakes:
    """Compare detections of a score above ``thresh`` with the ground truth.

    A detection is right if it has the highest score of those matched with its object, as in ``average_precision``.
    Those that overlap a difficult object of their class and no other are left out.
    """
    classes = len(names)
    order = np.argsort(-detections.scores, kind="stable")
    above = order[detections.scores[order] > np.float32(thresh)]
    detections = DetectionTable(*(column[above] for column in detections))
    detections, easy, match, _ = matched(detections, objects, iou_thresh)
    right = firsts(match)

    # the nearest object of a detection's own class, and of any other
    nearest, overlap = np.full((2, len(match)), NONE), np.zeros((2, len(match)), np.float32)
    together: list[list[np.ndarray]] = [[np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]]
    for detection, truth, value in pairs(detections.images, detections.boxes, easy.images, easy.boxes):
        same = detections.labels[detection] == easy.labels[truth]
        for own in (0, 1):
            chosen = same == (own == 0)
            keep_best(nearest[own], overlap[own], detection[chosen], truth[chosen], value[chosen])
        near = value > np.float32(iou_thresh)
        for column, part in zip(together, (detection, truth, value), strict=True):
            column.append(part[near])

    wrong = np.flatnonzero(~right)
    kind = np.select([match[wrong] >= 0, overlap[1, wrong] > iou_thresh, overlap[0, wrong] > BACKGROUND_IOU],
                     [KINDS.index("duplicate"), KINDS.index("classification"), KINDS.index("localization")], 0)
    rows = (kind == KINDS.index("classification")).astype(np.int64)
    nearest_object = np.where(kind == 0, NONE, nearest[rows, wrong])
    mistakes = [Mistake(KINDS[k], image, label, score, box, NONE if truth < 0 else int(easy.labels[truth]), value)
                for k, image, label, score, box, truth, value in zip(
                    kind.tolist(), detections.images[wrong].tolist(), detections.labels[wrong].tolist(),
                    detections.scores[wrong].tolist(), detections.boxes[wrong], nearest_object.tolist(),
                    np.where(kind == 0, 0, overlap[rows, wrong]).tolist(), strict=True)]
    missed = np.setdiff1d(np.arange(len(easy.labels)), match[right])
    missed = missed[np.argsort(-easy.boxes[missed, 2:].prod(1), kind="stable")]
    mistakes += [Mistake("missed", int(easy.images[at]), int(easy.labels[at]), 0., easy.boxes[at], NONE, 0.)
                 for at in missed.tolist()]
    table = np.zeros((classes, len(KINDS)), np.int64)
    for mistake in mistakes:
        table[mistake.label, KINDS.index(mistake.kind)] += 1
    return Mistakes(names, table, _confusion(detections, easy, classes, *map(np.concatenate, together)), mistakes)


def _confusion(detections: DetectionTable, objects: GroundTruth, classes: int, detection: np.ndarray, truth: np.ndarray,
               value: np.ndarray) -> np.ndarray:
    """The confusion matrix from all pairs that overlap enough: pairs of one class go first, then those that overlap
    most."""
    same = detections.labels[detection] == objects.labels[truth]
    order = np.lexsort((-value, ~same))
    detection, truth = detection[order], truth[order]
    partner = np.full(len(detections.labels), NONE)
    while len(detection):
        # a pair that is the first of both its sides is settled, and takes all other pairs of these with it
        settled = np.zeros(len(detection), bool)
        first, second = (np.unique(side, return_index=True)[1] for side in (detection, truth))
        settled[np.intersect1d(first, second)] = True
        partner[detection[settled]] = truth[settled]
        rest = ~np.isin(detection, detection[settled]) & ~np.isin(truth, truth[settled])
        detection, truth = detection[rest], truth[rest]
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(matrix, (np.where(partner < 0, classes, objects.labels[partner] if len(objects.labels) else classes),
                       detections.labels), 1)
    alone = np.setdiff1d(np.arange(len(objects.labels)), partner)
    np.add.at(matrix, (objects.labels[alone], classes), 1)
    return matrix
