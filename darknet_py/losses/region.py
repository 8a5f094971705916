"""The loss of [region], the head of YOLOv2, and of YOLO9000 with its tree of classes."""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from darknet_py.data.targets import Truth
from darknet_py.layers.base import TrainingContext
from darknet_py.layers.region import Region
from darknet_py.losses.base import HeadLoss, later_wins, loss, mean
from darknet_py.ops.boxes import iou

WARM_UP_IMAGES = 12_800     # for so many all boxes are drawn to their anchors
WARM_UP_SCALE = .01
CLASS_ALONE = 100_000       # a truth whose x and y lie beyond says that the class is somewhere in the image
FOCAL_ALPHA = .5


class _Truths(NamedTuple):
    """The boxes of a batch that count, K in the order of images and then of the label file."""

    image: Tensor       # (K,)
    boxes: Tensor       # (K, 4) cxcywh, relative
    labels: Tensor      # (K,)


@loss("region")
def region_loss(head: Region, x: Tensor, output: Tensor, truth: Truth, context: TrainingContext) -> HeadLoss:
    """Squared errors of logistic values; each object is assigned to the one anchor that fits it best.

    Darknet: forward_region_layer. The loss is the sum of the deltas' squares. ``log``, ``sqrt``, ``absolute`` and
    ``mask_scale`` are read and never used, and values beyond the fourth coordinate get no delta, as in C. Where no
    anchor overlaps an object at all C trains the first cell of the batch's first image; here it is the object's own.
    Objects without width or height, which C turns to infinity, are passed over.
    """
    o = head.options
    values = output.contiguous().unflatten(3, (head.count, -1))     # (N, H, W, A, 5 + C)
    _, height, width, anchors, _ = values.shape
    grid = values.new_tensor([width, height])
    row, column = torch.meshgrid(torch.arange(height, device=x.device), torch.arange(width, device=x.device),
                                 indexing="ij")
    corner = torch.stack([column, row], -1)[:, :, None]             # (H, W, 1, 2)
    sizes = values.new_tensor(head.anchors)                         # (A, 2) in cells
    offsets, objectness = values[..., :2].sigmoid(), values[..., 4]
    slope = objectness * (1 - objectness)
    boxes = torch.cat([(offsets + corner) / grid, values[..., 2:4].exp() * sizes / grid], -1)
    truths, alone = _select(head, truth.to(x.device))
    if head.tree is None:
        alone = torch.full_like(alone, -1)
    truths = _Truths(*(part[alone[truths.image] < 0] for part in truths))

    delta = torch.zeros_like(values)
    best, best_label = _best_overlap(boxes, truths)
    toward = best if o.classfix == -1 else 0
    delta[..., 4] = o.noobject_scale * (toward - objectness) * slope
    if o.classfix != -1:
        delta[..., 4].masked_fill_(best > o.thresh, 0)
    if context.seen < WARM_UP_IMAGES:
        delta[..., :2] = WARM_UP_SCALE * (.5 - offsets) * offsets * (1 - offsets)
        delta[..., 2:4] = -WARM_UP_SCALE * values[..., 2:4]

    # the anchor of each truth
    xy, wh = truths.boxes[:, :2] * grid, truths.boxes[:, 2:] * grid
    i, j = (xy[:, k].long().clamp(0, size - 1) for k, size in enumerate((width, height)))
    shapes = sizes / grid if o.bias_match else boxes[truths.image, j, i, :, 2:]     # (K, A, 2)
    shapes = shapes.expand(len(i), anchors, 2)
    anchor = iou(torch.cat([torch.zeros_like(shapes), shapes], -1),
                 torch.cat([torch.zeros_like(wh), truths.boxes[:, 2:]], -1)[:, None]).argmax(1)
    at = (truths.image, j, i, anchor)
    offset, raw, object_slope = offsets[at], values[at][:, 2:4], slope[at]
    overlap = iou(boxes[at], truths.boxes)
    target = overlap if o.rescore else 1
    flat = ((truths.image * height + j) * width + i) * anchors + anchor
    place, last = later_wins(flat)
    rows = torch.cat([
        o.coord_scale * (xy - torch.stack([i, j], 1) - offset) * offset * (1 - offset),
        o.coord_scale * ((wh / sizes[anchor]).log() - raw),
        (o.object_scale * (target - objectness[at]) * object_slope)[:, None]], 1)
    delta.view(-1, delta.shape[-1])[place, :5] = rows[last]

    # classes: what classfix says of boxes that overlap, then what the truths say of their own
    fixed = (best > o.thresh).flatten().nonzero()[:, 0] if o.classfix > 0 else flat.new_empty(0)
    whole = alone >= 0
    sure = _most_likely(head, values[whole], alone[whole])
    labels = truths.labels if head.class_map is None else \
        torch.tensor(head.class_map, device=x.device)[truths.labels]
    cells = torch.cat([fixed, flat, sure + whole.nonzero()[:, 0] * (height * width * anchors)])
    labels = torch.cat([best_label.flatten()[fixed], labels, alone[whole]])
    scale = torch.full(cells.shape, o.class_scale, device=x.device, dtype=x.dtype)
    if o.classfix == 2:
        scale[:len(fixed)] *= objectness.flatten()[fixed]
    found = _class_deltas(head, values.view(-1, values.shape[-1])[cells, 5:5 + head.classes], labels, scale)
    _write(delta.view(-1, delta.shape[-1])[:, 5:5 + head.classes], cells, *found)
    delta[whole, ..., :5] = 0

    likely = _probability(head, values.view(-1, values.shape[-1])[cells, 5:], labels)
    figures = {"iou": mean(overlap), "class": mean(likely), "objectness": mean(objectness[at]),
               "no_object": mean(objectness), "recall": mean((overlap > .5).float()),
               "count": flat.new_tensor(len(flat))}
    return HeadLoss(delta.flatten(3).permute(0, 3, 1, 2), delta.square().sum(), figures=figures)


def _select(head: Region, truth: Truth) -> tuple[_Truths, Tensor]:
    """The usable boxes, and of each image the class that is labelled without a box, -1 for none."""
    boxes, labels = truth.boxes[:, :head.options.max], truth.labels[:, :head.options.max]
    known = labels < min(head.classes, head.classes if head.class_map is None else len(head.class_map))
    open_ = ((boxes[..., 0] == 0) & known).long().cumsum(1) == 0        # an x of 0 ends the list, as in C
    valid = open_ & known & (labels >= 0)
    beyond = valid & (boxes[..., :2] > CLASS_ALONE).all(2)
    first = beyond & (beyond.long().cumsum(1) == 1)
    alone = torch.where(first, labels, -1).amax(1) if labels.shape[1] else labels.new_full((len(labels),), -1)
    at = (valid & (boxes[..., 2:] > 0).all(2)).nonzero(as_tuple=True)
    return _Truths(at[0], boxes[at], labels[at]), alone


def _best_overlap(boxes: Tensor, truths: _Truths) -> tuple[Tensor, Tensor]:
    """The largest overlap of each box (N, ..., 4) with a truth of its image, and that one's class, -1 where none."""
    n = len(boxes)
    number = torch.arange(len(truths.image), device=boxes.device)
    first = torch.searchsorted(truths.image, torch.arange(n, device=boxes.device))
    rank = number - first[truths.image]
    most = int(rank.max()) + 1 if len(rank) else 0
    table, labels = boxes.new_zeros(n, most + 1, 4), truths.labels.new_full((n, most + 1), -1)
    table[truths.image, rank + 1], labels[truths.image, rank + 1] = truths.boxes, truths.labels
    overlap = iou(boxes.flatten(1, -2)[:, :, None], table[:, None])         # (N, cells, 1 + M); the first is 0
    best, which = overlap.max(2)
    return best.view(boxes.shape[:-1]), labels.gather(1, which).view(boxes.shape[:-1])


def _most_likely(head: Region, values: Tensor, labels: Tensor) -> Tensor:
    """(K, H, W, A, 5 + C) and (K,) -> (K,) the box of each image most likely to hold its class."""
    if not len(labels):
        return labels
    rows = values.flatten(1, 3)
    spread = labels[:, None].expand(rows.shape[:2]).reshape(-1)
    likely = _probability(head, rows.flatten(0, 1)[:, 5:], spread).view(rows.shape[:2])
    return (rows[..., 4] * likely).argmax(1)


def _lineage(head: Region, labels: Tensor) -> Tensor:
    """(K,) -> (K, D) each class and its ancestors, -1 where there are no more."""
    if head.tree is None:
        return labels[:, None]
    parent = torch.cat([head.tree.parent, head.tree.parent.new_tensor([-1])]).to(labels.device)   # [-1] is -1
    line = [labels]
    for _ in head.tree.levels:
        line.append(parent[line[-1]])
    return torch.stack(line, 1)


def _probability(head: Region, classes: Tensor, labels: Tensor) -> Tensor:
    """(K, C) conditional probabilities and (K,) -> (K,) how likely those classes are. Darknet:
    get_hierarchy_probability."""
    line = _lineage(head, labels)
    return torch.where(line < 0, 1, classes.gather(1, line.clamp(0))).prod(1)


def _class_deltas(head: Region, classes: Tensor, labels: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """(K, C) deltas, and whether each is set: with a tree the class's and its ancestors' siblings alone are.

    Darknet: delta_region_class.
    """
    line = _lineage(head, labels)
    there = line >= 0
    target = torch.zeros_like(classes).scatter_add_(1, line.clamp(0), there.to(classes.dtype))
    delta = scale[:, None] * (target - classes)
    if head.tree is not None:
        group = head.tree.group.to(labels.device)
        groups = torch.zeros(len(labels), int(head.tree.group[-1]) + 1, device=labels.device)
        groups.scatter_add_(1, group[line.clamp(0)], there.to(groups.dtype))
        return delta, (groups > 0)[:, group]
    if head.options.focal_loss:
        p = classes.gather(1, labels.clamp(0)[:, None]) + 1e-15
        delta = delta * (-FOCAL_ALPHA * (1 - p) * (2 * p * p.log() + p - 1))
    return delta, torch.ones_like(delta, dtype=torch.bool)


def _write(delta: Tensor, cells: Tensor, values: Tensor, valid: Tensor) -> None:
    """Write rows of values into delta where they are valid, the later ones over the earlier. In place."""
    row, column = valid.nonzero(as_tuple=True)
    place, last = later_wins(cells[row] * delta.shape[1] + column)
    delta[place // delta.shape[1], place % delta.shape[1]] = values[row[last], column[last]]
