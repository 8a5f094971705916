"""Target assignment of [yolo] and [Gaussian_yolo]: the deltas of positive locations.

Negatives have a delta of the objectness alone. Positives are gathered into rows, worked on there, and put back. Where
several truths are assigned to one location, C's result depends on their order, so they take turns: first the first
truth of every location, then the second ones.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from darknet_py.data.targets import Truth
from darknet_py.layers.base import TrainingContext
from darknet_py.layers.yolo import AnchorHead
from darknet_py.losses.anchor_matching import Locations, Matches, constant, finite, move


class BoxDeltas(NamedTuple):
    """Deltas of the box entries, for K pairs of a location and a truth.

    delta: (K, B).
    overlap: (K,) the iou that the log shows.
    missing: (K,) what an overlap loss adds to the cost: 1 minus iou or giou.
    """

    delta: Tensor
    overlap: Tensor
    missing: Tensor


# (head, values (K, E + C), locations, truths (K, 4) cxcywh, class factors (K,), context) -> BoxDeltas
BoxRule = Callable[[AnchorHead, Tensor, Locations, Tensor, Tensor, TrainingContext], BoxDeltas]


def multipliers(head: AnchorHead, like: Tensor) -> Tensor | None:
    """(C,) factors of the classes from ``counters_per_class``, at most max_delta. Darknet: get_classes_multipliers."""
    counters = head.options.counters_per_class
    if counters is None:
        return None
    most = max(1, *counters)
    return constant([min(most / max(1, counter), head.options.max_delta) for counter in counters], like)


class PositiveRows:
    """The positive locations, a row each.

    values, delta: (U, E + C). Changes of ``delta`` reach the whole delta with ``put_back``.
    """

    def __init__(self, head: AnchorHead, y: Tensor, delta: Tensor, location: Tensor, context: TrainingContext):
        self.head, self.context, self.whole = head, context, delta
        self.locations = Locations.of(location, y)
        image, anchor, row, column, _ = self.locations
        self.values, self.delta = y[image, anchor, :, row, column], delta[image, anchor, :, row, column]
        self.factors = multipliers(head, y)

    def put_back(self) -> None:
        image, anchor, row, column, _ = self.locations
        self.whole[image, anchor, :, row, column] = self.delta

    def factor(self, label: Tensor) -> Tensor:
        return torch.ones_like(label, dtype=self.values.dtype) if self.factors is None else self.factors[label]

    def box_deltas(self, rule: BoxRule, row: Tensor, box: Tensor, label: Tensor) -> BoxDeltas:
        """Deltas of the box entries of rows for ground-truth boxes (K, 4)."""
        return rule(self.head, self.values[row], self.locations.take(row), box, self.factor(label), self.context)

    def classify(self, row: Tensor, label: Tensor, first: bool = False) -> None:
        """Assign a class (K,) to rows (K,), no two alike.

        The first class of a row sets all entries, each further one only its own. C knows them apart by whether the
        delta at the class is 0, which a perfect probability or an untouched one is; with ``first`` it looks at class
        0 instead. Infinite and NaN probabilities leave a delta as it is.

        Darknet: delta_yolo_class, delta_gaussian_yolo_class.
        """
        head, o, entries = self.head, self.head.options, self.head.entries
        p, before = self.values[row, entries:], self.delta[row, entries:]                      # (K, C)
        at = label[:, None]
        is_label = torch.arange(head.classes, device=p.device) == at
        again = (before[:, :1] if first else before.gather(1, at)) != 0
        is_true = is_label.to(p.dtype)
        target = is_true * (1 - o.label_smooth_eps) + .5 * o.label_smooth_eps
        fresh = torch.where(p.isfinite(), target - p, before)
        more = torch.where(is_label, fresh, before)
        if self.factors is not None:
            factor = torch.where(is_label, self.factors[at], 1)
            more, fresh = more * factor, fresh * torch.where(is_label, factor * o.cls_normalizer, 1)
        if getattr(o, "focal_loss", 0):
            pt = p.gather(1, at) + 1e-15
            slope = -(1 - pt) * (2 * pt * pt.log() + pt - 1)
            fresh = (is_true - p) * (.5 * slope)
        self.delta[row, entries:] = torch.where(again, more, fresh)

    def average(self, rows: Tensor | None = None) -> None:
        """Divide the box entries by the number of classes that a row stands for, where ``rows`` (U,) is true.

        Darknet: averages_yolo_deltas."""
        entries = self.head.entries
        count = (self.delta[:, entries:] > 0).sum(1, keepdim=True).clamp(min=1)
        if rows is not None:
            count = torch.where(rows[:, None], count, 1)
        self.delta[:, :entries - 1] /= count


class OverlapMatches(NamedTuple):
    """Predictions that are positive for their overlap with a truth whose anchors are others.

    location, truth: (K,), no location twice.
    overlap: (K,) the iou; None: the class alone is assigned.
    """

    location: Tensor
    truth: Tensor
    overlap: Tensor | None


class Assignment(NamedTuple):
    """The result of ``assign_targets``.

    box_deltas, label: of the matches, (K,) each.
    boxes: how many were assigned, ``rewritten`` of them to a location that had one already.
    """

    box_deltas: BoxDeltas
    label: Tensor
    boxes: int
    rewritten: Tensor


def assign_targets(head: AnchorHead, y: Tensor, delta: Tensor, truth: Truth, matches: Matches,
                   extra: Sequence[OverlapMatches], context: TrainingContext, rule: BoxRule,
                   gaussian: bool) -> Assignment:
    """Write the deltas of positive locations into ``delta`` (N, A, E + C, H, W).

    Args:
        delta: with that of the objectness for all locations.
        truth: from ``usable_truth``; it and ``matches`` may be on another device.
        gaussian: the details in which forward_gaussian_yolo_layer differs: further classes go by class 0, the
            target of a match's objectness is always 1, and boxes are averaged over classes with any ``iou_thresh``.
    """
    o, device, boxed = head.options, y.device, head.entries - 1
    smooth = bool(o.objectness_smooth)
    if extra:
        matches = matches.to(device)
    numbers = torch.cat([matches.location, *(one.location for one in extra)])
    if context.adversarial:                 # its deltas may be anywhere, and averaging counts all
        location, row = torch.arange(len(y) * head.count * y.shape[3] * y.shape[4], device=device), numbers
    else:
        location, row = torch.unique(numbers, return_inverse=True)
    matches = matches.to(device)
    match_row, *extra_rows = move(row, device).split([len(matches.location), *(len(one.location) for one in extra)])
    boxes, labels = move(truth.boxes, device).flatten(0, 1), move(truth.labels, device).flatten()
    positives = PositiveRows(head, y, delta, move(location, device), context)
    if not gaussian:                        # C writes 0 where it is not finite
        positives.values[:, boxed] = finite(positives.values[:, boxed])
    count, rewritten = len(match_row), torch.zeros((), dtype=torch.long, device=device)

    def add_box_deltas(row: Tensor, delta: Tensor) -> None:
        rewritten.add_((positives.delta[row, :boxed] != 0).any(1).sum())
        positives.delta[row, :boxed] += delta

    for row, (_, target, overlap) in zip(extra_rows, extra, strict=True):
        label = labels[target]
        positives.classify(row, label, gaussian)
        if overlap is None:
            continue
        count += len(row)
        add_box_deltas(row, positives.box_deltas(rule, row, boxes[target], label).delta)
        if smooth:
            entry = head.entries + label
            positives.delta[row, entry] = positives.factor(label) * (overlap * overlap - positives.values[row, entry])

    label = labels[matches.truth]
    box_deltas = positives.box_deltas(rule, match_row, boxes[matches.truth], label)
    objectness = o.obj_normalizer * positives.factor(label) * (1 - positives.values[match_row, boxed])
    for rank in matches.ranks:
        row = match_row[rank]
        add_box_deltas(row, box_deltas.delta[rank])
        before = positives.delta[row, boxed]
        positives.delta[row, boxed] = torch.where(before == 0, objectness[rank], before) if smooth and not gaussian \
            else objectness[rank]
        positives.classify(row, label[rank], gaussian)
    if gaussian:
        positives.average()
    elif o.iou_thresh < 1:
        positives.average(positives.delta[:, boxed] != 0)
    positives.put_back()
    return Assignment(box_deltas, label, count, rewritten)
