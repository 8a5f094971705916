"""Stratified splits: groups of pictures go to train or valid whole, with each class in the asked share."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

PASSES = 20         # of the refinement at most
LEAST = 1e-8        # gain of a move, in squared shares


def stratified_split(counts: np.ndarray, groups: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Which pictures are for training.

    The class that fewest groups still have is assigned first, group by group, those with most objects first, to the
    part that lacks most of it; then single groups change sides as long as that brings the classes' shares nearer.

    Args:
        counts: (P, C) int, objects of each class in each picture.
        groups: (P,) int, pictures of the same number stay together.
        share: of the objects, and of the pictures, that are for training, in [0, 1].
        seed: decides among equals; the same gives the same.

    Returns:
        (P,) bool.

    Source: Sechidis, Tsoumakas, Vlahavas, On the Stratification of Multi-Label Data, 2011, with numbers of objects as
    weights, and with pictures, and pictures without objects, as two more classes.
    """
    if share in (0, 1) or len(counts) == 0:
        return np.full(len(counts), share == 1)
    _, groups = np.unique(groups, return_inverse=True)
    count = int(groups.max()) + 1
    owner, label = np.nonzero(counts)
    classes = counts.shape[1]
    empty = np.flatnonzero(~counts.any(1))
    keys = np.concatenate([groups[owner] * (classes + 2) + label, groups * (classes + 2) + classes,
                           groups[empty] * (classes + 2) + classes + 1])
    values = np.concatenate([counts[owner, label], np.ones(len(groups) + len(empty), np.int64)])
    keys, inverse = np.unique(keys, return_inverse=True)
    values = np.bincount(inverse, values)
    starts = np.searchsorted(keys // (classes + 2), np.arange(count + 1))
    labels = keys % (classes + 2)
    parts = [(labels[a:b], values[a:b]) for a, b in pairwise(starts.tolist())]      # of each group
    total = np.bincount(labels, values, classes + 2)
    order = np.random.default_rng(seed).permutation(count)
    train = _assigned(parts, total, share, order, classes)
    _refine(train, parts, total, share, order)
    return train[groups]


def _assigned(parts: Sequence[tuple[np.ndarray, np.ndarray]], total: np.ndarray, share: float, order: np.ndarray,
           classes: int) -> np.ndarray:
    """(G,) bool, group by group, the rarest class first."""
    members: list[list[tuple[float, int]]] = [[] for _ in total]        # minus the objects, place in the order
    for place, group in enumerate(order.tolist()):
        labels, values = parts[group]
        for label, value in zip(labels.tolist(), values.tolist(), strict=True):
            members[label].append((-value, place))
    left = np.array([len(groups) for groups in members])
    lack = np.stack([(1 - share) * total, share * total])               # of valid, of train
    side = np.full(len(parts), -1)
    while left.any():
        rarest = int(np.where(left > 0, left, left.max() + 1).argmin())
        for _, place in sorted(members[rarest]):
            group = int(order[place])
            if side[group] < 0:
                labels, values = parts[group]
                first, second = lack[1, rarest] - lack[0, rarest], lack[1, classes] - lack[0, classes]
                side[group] = first > 0 or (first == 0 and second >= 0)
                lack[side[group], labels] -= values
                left[labels] -= 1
    return side == 1


def _refine(train: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray]], total: np.ndarray, share: float,
            order: np.ndarray) -> None:
    """Move groups while that lessens the sum over classes of the squared errors of their shares."""
    found = np.zeros(len(total))
    for group in np.flatnonzero(train).tolist():
        labels, values = parts[group]
        found[labels] += values
    for _ in range(PASSES):
        moved = False
        for group in order.tolist():
            labels, values = parts[group]
            now = found[labels] / total[labels] - share
            change = (-values if train[group] else values) / total[labels]
            if (change * (2 * now + change)).sum() < -LEAST:
                found[labels] += change * total[labels]
                train[group] ^= True
                moved = True
        if not moved:
            return
