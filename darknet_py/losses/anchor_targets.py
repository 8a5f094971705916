"""What the losses of [yolo] and [Gaussian_yolo] teach the slots that truths call for.

Only those get more than a delta of the objectness. They are gathered into the rows of a table, worked on there, and
put back. Where several truths call for one slot, C's result depends on their order, so they are told in rounds: first
the first truth of every slot, then the second ones.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from darknet_py.data.targets import Truth
from darknet_py.layers.yolo import AnchorHead
from darknet_py.losses.anchor_matching import Matches, Slots, constant, finite, move
from darknet_py.losses.base import Moment


class Aims(NamedTuple):
    """What box entries should become, for K pairs of a slot and a truth.

    delta: (K, B).
    overlap: (K,) the iou that the log shows.
    missing: (K,) what an overlap loss adds to the cost: 1 minus iou or giou.
    """

    delta: Tensor
    overlap: Tensor
    missing: Tensor


# (head, values (K, E + C), slots, truths (K, 4) cxcywh, class factors (K,), moment) -> Aims
BoxRule = Callable[[AnchorHead, Tensor, Slots, Tensor, Tensor, Moment], Aims]


def multipliers(head: AnchorHead, like: Tensor) -> Tensor | None:
    """(C,) factors of the classes from ``counters_per_class``, at most max_delta. Darknet: get_classes_multipliers."""
    counters = head.options.counters_per_class
    if counters is None:
        return None
    most = max(1, *counters)
    return constant([min(most / max(1, counter), head.options.max_delta) for counter in counters], like)


class Table:
    """The slots that truths call for, a row each.

    slots: where they are.
    values, delta: (U, E + C). What is done to ``delta`` counts after ``put_back``.
    """

    def __init__(self, head: AnchorHead, y: Tensor, delta: Tensor, slot: Tensor, moment: Moment):
        self.head, self.moment, self.whole = head, moment, delta
        self.slots = Slots.of(slot, y)
        image, anchor, row, column, _ = self.slots
        self.values, self.delta = y[image, anchor, :, row, column], delta[image, anchor, :, row, column]
        self.factors = multipliers(head, y)

    def put_back(self) -> None:
        image, anchor, row, column, _ = self.slots
        self.whole[image, anchor, :, row, column] = self.delta

    def factor(self, label: Tensor) -> Tensor:
        return torch.ones_like(label, dtype=self.values.dtype) if self.factors is None else self.factors[label]

    def aim(self, rule: BoxRule, row: Tensor, box: Tensor, label: Tensor) -> Aims:
        """What the box entries of rows should become for boxes (K, 4)."""
        return rule(self.head, self.values[row], self.slots.take(row), box, self.factor(label), self.moment)

    def classify(self, row: Tensor, label: Tensor, first: bool = False) -> None:
        """Tell rows (K,), no two alike, of a class (K,).

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


class Guess(NamedTuple):
    """Predictions that lie so well that they stand for a truth which did not choose them.

    slot, truth: (K,), no slot twice.
    overlap: (K,) how well; None: they learn the class alone.
    """

    slot: Tensor
    truth: Tensor
    overlap: Tensor | None


class Lesson(NamedTuple):
    """What came of ``teach``. ``aims`` and ``label`` belong to the matches; ``boxes`` were told, ``rewritten`` of them
    to a slot that had one already."""

    aims: Aims
    label: Tensor
    boxes: int
    rewritten: Tensor


def teach(head: AnchorHead, y: Tensor, delta: Tensor, truth: Truth, matches: Matches, guesses: Sequence[Guess],
          moment: Moment, rule: BoxRule, gaussian: bool) -> Lesson:
    """Write into ``delta`` (N, A, E + C, H, W) what the slots of guesses and matches should become.

    Args:
        delta: with that of the objectness for all slots.
        truth: from ``usable_truth``; it and ``matches`` may be on another device.
        gaussian: the details in which forward_gaussian_yolo_layer differs: further classes go by class 0, the
            objectness of a match always aims at 1, and boxes are averaged over classes with any ``iou_thresh``.
    """
    o, device, boxed = head.options, y.device, head.entries - 1
    smooth = bool(o.objectness_smooth)
    if guesses:
        matches = matches.to(device)
    numbers = torch.cat([matches.slot, *(guess.slot for guess in guesses)])
    if moment.adversarial:                  # which has touched any slot, and averaging counts all
        slot, row = torch.arange(len(y) * head.count * y.shape[3] * y.shape[4], device=device), numbers
    else:
        slot, row = torch.unique(numbers, return_inverse=True)
    matches = matches.to(device)
    match_row, *guess_rows = move(row, device).split([len(matches.slot), *(len(guess.slot) for guess in guesses)])
    boxes, labels = move(truth.boxes, device).flatten(0, 1), move(truth.labels, device).flatten()
    table = Table(head, y, delta, move(slot, device), moment)
    if not gaussian:                        # C writes 0 where it is not finite
        table.values[:, boxed] = finite(table.values[:, boxed])
    told, rewritten = len(match_row), torch.zeros((), dtype=torch.long, device=device)

    def tell(row: Tensor, delta: Tensor) -> None:
        rewritten.add_((table.delta[row, :boxed] != 0).any(1).sum())
        table.delta[row, :boxed] += delta

    for row, (_, target, overlap) in zip(guess_rows, guesses, strict=True):
        label = labels[target]
        table.classify(row, label, gaussian)
        if overlap is None:
            continue
        told += len(row)
        tell(row, table.aim(rule, row, boxes[target], label).delta)
        if smooth:
            entry = head.entries + label
            table.delta[row, entry] = table.factor(label) * (overlap * overlap - table.values[row, entry])

    label = labels[matches.truth]
    aims = table.aim(rule, match_row, boxes[matches.truth], label)
    objectness = o.obj_normalizer * table.factor(label) * (1 - table.values[match_row, boxed])
    for rank in matches.ranks:
        row = match_row[rank]
        tell(row, aims.delta[rank])
        before = table.delta[row, boxed]
        table.delta[row, boxed] = torch.where(before == 0, objectness[rank], before) if smooth and not gaussian \
            else objectness[rank]
        table.classify(row, label[rank], gaussian)
    if gaussian:
        table.average()
    elif o.iou_thresh < 1:
        table.average(table.delta[:, boxed] != 0)
    table.put_back()
    return Lesson(aims, label, told, rewritten)
