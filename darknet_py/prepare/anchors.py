"""Anchors for a data set: clusters of its boxes' sizes by IoU, and Darknet's own k-means."""
from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darknet_py.data.check import Progress
from darknet_py.data.datafile import entries_of
from darknet_py.data.dataset import Problem, class_names, read_objects, read_samples
from darknet_py.errors import DataError, Reason

MOST_CLASSES = 10_000       # larger numbers in a label file are mistakes
MOST_ANCHORS = 256
MANY = 15_000               # different sizes, above which similar ones are merged
RESTARTS = 40               # of the search
GRID = .01                  # logarithm of the ratio of two sizes that may count as one, where there are too many
MOST_PASSES = 1000          # of k-means, as in C
MOST_STEPS = 200            # of gradient ascent
FIRST_STEP, LAST_STEP = .1, 3e-4        # relative, of gradient ascent
RECALL_IOU = .5             # a box counts as recalled if an anchor overlaps it by more
CELLS = 32                  # the width up to which Darknet takes the unit for cells, as of [region]


class Boxes(NamedTuple):
    """The boxes of a data set.

    sizes: (K, 2) float32 width and height, relative to the picture. counts: (C,) boxes of each class. pictures: how
    many there are. problems: with the labels.
    """
    sizes: np.ndarray
    counts: np.ndarray
    pictures: int
    problems: list[Problem]


class AnchorFit(NamedTuple):
    """How well anchors fit boxes, both centred. iou: mean overlap of a box with its best anchor. recall: the share of
    boxes whose best anchor overlaps them by more than ``RECALL_IOU``, the best possible recall of the anchors alone."""
    iou: float
    recall: float


class AnchorSets(NamedTuple):
    """Anchors (A, 2) by area: the best that were found, and what Darknet's k-means gives."""
    best: np.ndarray
    darknet: np.ndarray


def read_boxes(data: str | os.PathLike, *, progress: Progress | None = None) -> Boxes:
    """The boxes of a data set's train split; pictures are not opened.

    Args:
        data: any source of ``read_samples``.
        progress: called now and then with how many label files are read.

    Raises:
        DataError: data cannot be read. Labels that cannot be used are left out and stand in ``problems``, as are
            classes beyond those of data, which count all the same.

    Darknet: the first half of calc_anchors. C counts boxes without size or outside the picture too.
    """
    known = class_count(data)
    samples = read_samples(data)
    rows: list[np.ndarray] = []
    problems: list[Problem] = []
    for done, sample in enumerate(samples, 1):
        found = read_objects(sample, MOST_CLASSES)
        rows.append(found.rows)
        problems += found.problems
        if progress is not None and (done % 64 == 0 or done == len(samples)):
            progress(done, len(samples))
    boxes = np.concatenate(rows)
    counts = np.bincount(boxes[:, 0].astype(np.int64), minlength=known)
    if len(counts) > known > 0:
        problems.append(Problem(Path(data), 0, f"has {known} classes, but labels have class {len(counts) - 1}",
                                error=False))
    return Boxes(boxes[:, 3:], counts, len(samples), problems)


def class_count(data: str | os.PathLike) -> int:
    """How many classes the .data file says there are, else the names that come with the data; 0 where nothing does."""
    text = entries_of(data).get("classes")
    if text is None:
        return len(class_names(data) or [])
    if not text.isdecimal() or len(text) > 40 or not 0 < int(text) <= MOST_CLASSES:
        raise DataError(f"{data}: expected 'classes = N', N from 1 to {MOST_CLASSES}, found classes = {text}",
                        Reason.BAD_VALUE)
    return int(text)


def nearest(sizes: np.ndarray, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K, 2) sizes and (A, 2) anchors to (K,) the number of the anchor with the largest IoU, the first of equal ones,
    and (K,) that IoU; all centred."""
    width, height = np.ascontiguousarray(sizes.T)
    area, label, best = width * height, np.zeros(len(sizes), np.int64), np.zeros(len(sizes), sizes.dtype)
    for number, anchor in enumerate(anchors):
        common = np.minimum(width, anchor[0]) * np.minimum(height, anchor[1])
        overlap = common / (area + anchor.prod() - common)
        better = overlap > best
        label[better] = number
        np.maximum(best, overlap, out=best)
    return label, best


def fit_of(sizes: np.ndarray, anchors: np.ndarray) -> AnchorFit:
    """How well (A, 2) anchors fit (K, 2) sizes of boxes, in one unit."""
    _, overlap = nearest(sizes, anchors)
    return AnchorFit(float(overlap.mean(dtype=np.float64)), float((overlap > RECALL_IOU).mean()))


def find_anchors(sizes: np.ndarray, count: int, *, seed: int = 0, restarts: int = RESTARTS,
                 progress: Progress | None = None) -> AnchorSets:
    """Anchors for boxes.

    Each restart spreads anchors over the boxes as k-means++ does (Arthur and Vassilvitskii 2007), with the distance
    1 - IoU, and maximizes the mean IoU from there by gradient ascent. One more ascent starts from the result of
    Darknet's k-means, so that the result is never worse than that.

    Equal sizes are merged. Where more than ``MANY`` remain, so are those that differ by a few percent, at their mean,
    also for Darknet's k-means. The best candidate is then chosen, and refined, with all boxes.

    Args:
        sizes: (K, 2) width and height of boxes, above 0.
        count: how many anchors.
        seed: the same gives the same anchors.
        progress: called with how many of the restarts are done.

    Raises:
        DataError: there are fewer different sizes than anchors.
    """
    if not 0 < count <= MOST_ANCHORS:
        raise DataError(f"expected a number of anchors from 1 to {MOST_ANCHORS}, found {count}", Reason.OUT_OF_RANGE)
    sizes = sizes.astype(np.float64)
    kinds, weights = np.unique(sizes, axis=0, return_counts=True)
    if len(kinds) < count:
        raise DataError(f"{count} anchors need boxes of as many different sizes, found {len(kinds)}",
                        Reason.WRONG_COUNT)
    few, times = _merged(kinds, weights.astype(np.float64))
    darknet = darknet_anchors(few, count, times, seed)
    candidates = [darknet, _ascend(few, times, darknet)]
    draw = np.random.default_rng(seed)
    for done in range(1, restarts + 1):
        candidates.append(_ascend(few, times, _spread(few, times, count, draw)))
        if progress is not None:
            progress(done, restarts)

    def score(anchors: np.ndarray) -> float:
        return float(weights @ nearest(kinds, anchors)[1])

    best = max(candidates, key=score)
    if few is not kinds:
        best = max(best, _ascend(kinds, weights, best, LAST_STEP * 8), key=score)
    return AnchorSets(by_area(best), by_area(darknet))


def darknet_anchors(sizes: np.ndarray, count: int, weights: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """(A, 2) anchors as Darknet finds them.

    Args:
        weights: how many boxes of each size there are; None for one.
        seed: C takes the time.

    Darknet: do_kmeans. It starts from randomly chosen boxes, among which may be equal ones, and moves each anchor to
    the mean of the boxes that it overlaps most, until none of them changes its anchor, at most 1000 times. An anchor
    without boxes stays. The mean is not where the overlap is largest: see ``find_anchors``.
    """
    weights = np.ones(len(sizes)) if weights is None else weights
    drawn = np.random.default_rng(seed).choice(round(weights.sum()), count, replace=False)
    anchors = sizes[np.searchsorted(weights.cumsum(), drawn, "right")]
    before = np.zeros(len(sizes), np.int64)
    if count == 1:
        anchors = np.average(sizes, 0, weights)[None]
    for _ in range(MOST_PASSES):
        labels, _ = nearest(sizes, anchors)
        if np.array_equal(labels, before):
            break
        total = np.bincount(labels, weights, count)[:, None]
        sums = np.stack([np.bincount(labels, weights * side, count) for side in sizes.T], 1)
        anchors, before = np.where(total > 0, sums / np.maximum(total, 1), anchors), labels
    return anchors


def _merged(sizes: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different sizes (K, 2) and how many boxes have each, (K,); if too many, those of a cell in a logarithmic grid
    become one, at their mean. The grid is as fine as it can be."""
    few, times, step = sizes, weights, GRID
    while len(few) > MANY:
        cells = np.floor(np.log(sizes) / step).astype(np.int64)
        cells -= cells.min(0)
        _, cell = np.unique(cells[:, 0] * (cells[:, 1].max() + 1) + cells[:, 1], return_inverse=True)
        times = np.bincount(cell, weights)
        few = np.stack([np.bincount(cell, weights * side) for side in sizes.T], 1) / times[:, None]
        step *= 1.3
    return few, times


def _spread(sizes: np.ndarray, weights: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """Boxes as first anchors (A, 2), each drawn with a chance that grows with its distance from those before."""
    chosen: list[int] = []
    distance = np.ones(len(sizes))
    for _ in range(count):
        chance = weights * distance
        chosen.append(draw.choice(len(sizes), p=chance / chance.sum()))
        distance = np.minimum(distance, (1 - nearest(sizes, sizes[chosen[-1:]])[1]).clip(0))
        distance[chosen] = 0
    return sizes[chosen]


def _ascend(sizes: np.ndarray, weights: np.ndarray, anchors: np.ndarray, first: float = FIRST_STEP) -> np.ndarray:
    """Gradient ascent: anchors (A, 2) moved to a local maximum of their mean IoU with the boxes.

    Each moves along the gradient of its boxes' mean IoU by the logarithms of width and height. A step that improves the
    IoU makes the next one longer, any other is undone and makes it shorter, so that no pass is worse than the one
    before.
    """
    boxes, step = np.ascontiguousarray(sizes.T), np.full(len(anchors), first)      # (2, K), for columns are faster
    area = boxes[0] * boxes[1]

    def overlaps(anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        width, height = np.minimum(boxes, anchors)
        common = width * height
        return common, area + anchors[0] * anchors[1] - common

    def gathered(values: np.ndarray) -> np.ndarray:
        return np.bincount(labels, weights * values, len(anchors))

    for _ in range(MOST_STEPS):
        labels, _ = nearest(sizes, anchors)
        mine = anchors.T[:, labels]                                                 # (2, K)
        common, union = overlaps(mine)
        grows = weights * common / union ** 2       # d IoU / d log side = this * area of the box where that is larger,
        sinks = -grows * mine[0] * mine[1]          # or else this
        slope = np.stack([np.bincount(labels, np.where(side > own, grows * area, sinks), len(anchors))
                          for side, own in zip(boxes, mine, strict=True)], 1)
        slope = slope / np.linalg.norm(slope, axis=1, keepdims=True).clip(1e-300)
        moved = anchors * np.exp(step[:, None] * slope)
        new_common, new_union = overlaps(moved.T[:, labels])
        pays = gathered(new_common / new_union) > gathered(common / union)
        anchors = np.where(pays[:, None], moved, anchors)
        step = np.where(pays, step * 1.2, step / 2)
        if step.max() < LAST_STEP:
            break
    return anchors


def by_area(anchors: np.ndarray) -> np.ndarray:
    return anchors[np.argsort(anchors.prod(1), kind="stable")]


def anchors_text(anchors: np.ndarray, width: float) -> str:
    """Anchors as Darknet writes them into anchors.txt: pixels, or cells where width, the network's, is at most 32.

    Raises:
        DataError: rounded, some are equal, or nothing.
    """
    digits, show = (0, "{:3.0f},{:3.0f}") if width > CELLS else (4, "{:2.4f},{:2.4f}")
    rounded = anchors.round(digits)
    if rounded.min() <= 0:
        raise DataError(f"an anchor of {anchors.min():.3g} is 0 when rounded: are there boxes of less than a pixel?",
                        Reason.OUT_OF_RANGE)
    different = len(np.unique(rounded, axis=0))
    if different < len(anchors):
        raise DataError(f"only {different} of {len(anchors)} anchors differ when rounded: the boxes are too much alike "
                        "for so many", Reason.DUPLICATE)
    return ", ".join(show.format(*anchor) for anchor in anchors.tolist())


def counters_text(counts: np.ndarray) -> str:
    """Boxes of each class as Darknet writes them into counters_per_class.txt, and as a cfg takes them."""
    return "counters_per_class = " + ", ".join(map(str, counts.tolist()))
