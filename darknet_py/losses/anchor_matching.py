"""Matching of ground truth and anchors, for the heads with anchors.

A location is one anchor of one cell of one image; locations are numbered as (N, A, H, W).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from darknet_py.data.targets import Truth
from darknet_py.layers.base import TrainingContext
from darknet_py.layers.yolo import AnchorHead
from darknet_py.ops.boxes import iou

PAIRS = {"cpu": 1 << 18}        # of a prediction and a truth that are compared at once: what a cache holds
PAIRS_ELSEWHERE = 1 << 23


class Locations(NamedTuple):
    """Locations in the output of a head, as tensors to index (N, A, ..., H, W) with, which broadcast to each other.

    grid: H and W, which need not be those that the head was built for.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    grid: tuple[int, int]

    @classmethod
    def of(cls, location: Tensor, y: Tensor) -> Locations:
        """(K,) numbers of locations in values (N, A, E + C, H, W) -> (K,) each."""
        _, anchors, _, height, width = y.shape
        cell, anchor = location % (height * width), location // (height * width)
        return cls(anchor // anchors, anchor % anchors, cell // width, cell % width, (height, width))

    def take(self, rows: Tensor) -> Locations:
        return Locations(self.image[rows], self.anchor[rows], self.row[rows], self.column[rows], self.grid)

    @classmethod
    def all(cls, y: Tensor) -> Locations:
        """Of values (N, A, E + C, H, W), (N, 1, 1, 1), (A, 1, 1), (H, 1) and (W,)."""
        image, anchor, row, column = (torch.arange(y.shape[axis], device=y.device) for axis in (0, 1, 3, 4))
        return cls(image[:, None, None, None], anchor[:, None, None], row[:, None], column, (len(row), len(column)))


def predicted_boxes(head: AnchorHead, values: Sequence[Tensor], locations: Locations, context: TrainingContext,
                    point: float = 0, square: bool = False) -> Tensor:
    """Boxes from their x, y, w and h as the head gives them, each (...) for the locations (...).

    Args:
        point: what x and y mean: 0 the centre, -.5 the left top corner, .5 the right bottom one.
        square: sizes are squares (``new_coords``), not exponentials.

    Returns:
        (4, ...): center x, center y, width, height, relative to the network's input.

    Darknet: get_yolo_box, get_gaussian_yolo_box.
    """
    x, y, w, h = values
    anchors = constant(head.anchors, x)[locations.anchor]
    w, h = (w * w * 4, h * h * 4) if square else (w.exp(), h.exp())
    w, h = w * anchors[..., 0] / context.width, h * anchors[..., 1] / context.height
    x, y = (locations.column + x) / locations.grid[1], (locations.row + y) / locations.grid[0]
    return torch.stack((x - point * w, y - point * h, w, h) if point else (x, y, w, h))


class Matches(NamedTuple):
    """Positive locations and the truths that they are matched with.

    location, truth: (K,), the truths numbered as (N, M). Those of one location follow each other as their truths do.
    best: (K,) whether the anchor fits the truth best, not just well enough.
    ranks: the same 0..K-1, divided up into the first matches of their locations, the second ones, and so on.
    """

    location: Tensor
    truth: Tensor
    best: Tensor
    ranks: tuple[Tensor, ...]

    def to(self, device: torch.device) -> Matches:
        return Matches(move(self.location, device), move(self.truth, device), move(self.best, device),
                       tuple(move(rank, device) for rank in self.ranks))


def move(x: Tensor, device: torch.device) -> Tensor:
    return x.to(device, non_blocking=True)


def finite(x: Tensor) -> Tensor:
    """With 0 for what is not."""
    return torch.where(x.isfinite(), x, 0)


def constant(values: Sequence[float] | Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Numbers of the cfg beside ``like``, without waiting for its device."""
    return move(torch.tensor(values, dtype=like.dtype, device="cpu"), like.device)


def usable_truth(head: AnchorHead, truth: Truth) -> Truth:
    """The truths that C trains with; the others get the label -1 and an empty box. Labels go through ``map=``.

    An image's list ends at an x of 0. Labels that name no class are skipped. So are boxes with a centre outside the
    image, a negative size or NaN: C says "Wrong label" and writes somewhere else in memory.
    """
    boxes, labels, tracks = (x[:, :head.options.max] for x in truth)
    known = head.classes if head.class_map is None else min(head.classes, len(head.class_map))
    good = (boxes[..., 0] != 0).cumprod(1).bool() & (labels >= 0) & (labels < known)
    good &= (boxes >= 0).all(-1) & (boxes[..., :2] <= 1).all(-1) & boxes.isfinite().all(-1)
    if head.class_map is not None:
        labels = torch.tensor((*head.class_map, 0), device=labels.device)[labels.clamp(0, known)]
    return Truth(boxes.masked_fill(~good[..., None], 0), labels.masked_fill(~good, -1), tracks)


def match(head: AnchorHead, truth: Truth, grid: tuple[int, int], context: TrainingContext,
          point: float = 0) -> Matches:
    """Match each truth with anchors of the cell where its centre lies.

    Args:
        truth: from ``usable_truth``.
        grid: H and W.
        point: not 0: in the cell where a corner lies, -.5 for the left top one and .5 for the right bottom one.

    One anchor is that whose shape overlaps best, of all heads' anchors, if it is this head's; with ``iou_thresh`` below
    1 also this head's others that overlap by more than that.
    """
    o, boxes = head.options, truth.boxes
    count, (height, width) = head.count, grid
    size = constant((context.width, context.height), boxes)
    shapes = torch.cat([torch.zeros(len(head.all_anchors), 2, device=boxes.device, dtype=boxes.dtype),
                        constant(head.all_anchors, boxes) / size], 1)                          # (total, 4)
    shape = torch.cat([torch.zeros_like(boxes[..., :2]), boxes[..., 2:]], -1)[:, :, None]      # (N, M, 1, 4)
    best = iou(shapes, shape).argmax(-1)[..., None]                                            # (N, M, 1)
    # A number that the mask has twice counts where it stands first.
    usable = [number < len(head.all_anchors) and head.mask.index(number) == at for at, number in enumerate(head.mask)]
    number = torch.tensor([n if ok else -1 for n, ok in zip(head.mask, usable, strict=True)], device=boxes.device)
    chosen = best == number                                                                    # (N, M, A)
    if o.iou_thresh < 1:
        chosen |= iou(shapes[number.clamp(min=0)], shape, o.iou_thresh_kind) > o.iou_thresh
    chosen &= (truth.labels >= 0)[..., None] & (number >= 0)
    image, index, anchor = chosen.nonzero().unbind(1)
    box = boxes[image, index]
    limit = box.new_tensor([width, height])
    column, row = ((box[:, :2] + point * box[:, 2:]) * limit).clamp(min=0).minimum(limit - 1).long().unbind(1)
    location = ((image * count + anchor) * height + row) * width + column
    is_best = best[image, index, 0] == number[anchor]
    return Matches(location, image * boxes.shape[1] + index, is_best, ranks(location))


def ranks(location: Tensor) -> tuple[Tensor, ...]:
    """(K,) numbers -> indices of those that are the first of their kind, the second, and so on."""
    if not len(location):
        return ()
    order = location.argsort(stable=True)
    position = torch.arange(len(location), device=location.device)
    location = location[order]
    first = torch.ones_like(location, dtype=torch.bool)
    first[1:] = location[1:] != location[:-1]
    rank = position - torch.where(first, position, 0).cummax(0).values
    by_rank = rank.argsort(stable=True)
    return order[by_rank].split(rank.bincount().tolist())


def best_overlap(predicted: Tensor, truth: Tensor, name: bool = True,
                 pairs: int | None = None) -> tuple[Tensor, Tensor]:
    """The largest iou of each prediction with its image's truths, and which truth that is, the first of equals.

    Args:
        predicted: (4, N, A, H, W) center x, center y, width, height.
        truth: (N, M, 4) cxcywh.
        name: find out which truth it is, too, which takes twice the time.
        pairs: how many to compare at once.

    Returns:
        (N, A, H, W) each; 0 and 0 without an overlap, and 0 where ``name`` is false.
    """
    def sides(x: Tensor, y: Tensor, w: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        return x - w / 2, y - h / 2, x + w / 2, y + h / 2, w * h

    left, top, right, bottom, area = sides(*predicted.flatten(2)[:, :, None])                  # (N, 1, P)
    left_, top_, right_, bottom_, area_ = sides(*truth[..., None].unbind(2))                   # (N, M, 1)
    best = torch.zeros_like(area[:, 0])
    which = torch.zeros_like(best, dtype=torch.long)
    step = max(1, (pairs or PAIRS.get(best.device.type, PAIRS_ELSEWHERE)) // max(1, best.numel()))
    room = area.new_empty(3, len(area), min(step, truth.shape[1]), area.shape[2])   # used anew for each part
    for start in range(0, truth.shape[1], step):
        part = slice(start, start + step)
        shared, height, rest = room[:, :, :area_[:, part].shape[1]]
        torch.minimum(right, right_[:, part], out=shared)
        shared.sub_(torch.maximum(left, left_[:, part], out=rest)).clamp_(min=0)
        torch.minimum(bottom, bottom_[:, part], out=height)
        height.sub_(torch.maximum(top, top_[:, part], out=rest)).clamp_(min=0)
        union = torch.add(area, area_[:, part], out=rest).sub_(shared.mul_(height))
        value, index = shared.div_(union).max(1) if name else (shared.div_(union).amax(1), None)
        better = value > best                   # not so for the 0 / 0 of empty boxes
        best = torch.where(better, value, best)
        if index is not None:
            which = torch.where(better, index + start, which)
    return best.view_as(predicted[0]), which.view_as(predicted[0])
