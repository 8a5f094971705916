"""The loss of [detection], YOLOv1's head."""
from __future__ import annotations

import torch
from torch import Tensor

from darknet_py.data.targets import Truth
from darknet_py.layers.base import TrainingContext
from darknet_py.layers.detection import Detection
from darknet_py.losses.base import HeadLoss, loss, mean
from darknet_py.ops.boxes import iou

LEAST_SIZE = .001       # of a truth's width and height
SMALL_AREA = .1         # with forced=1, what goes to the second box
RANDOM_IMAGES = 64_000  # with random=1, for so many a random box takes the object


@loss("detection")
def detection_loss(head: Detection, x: Tensor, output: Tensor, truth: Truth, context: TrainingContext) -> HeadLoss:
    """Squared errors. A cell has one object at most, the first of the labels with its centre there, which is assigned
    to the cell's box of most overlap, or, if none overlaps, to the nearest one.

    Darknet: forward_detection_layer, fill_truth_region. The loss is the sum of the deltas' squares. With ``random`` the
    draws depend on ``context.seen`` alone, so that a run can be repeated. ``forced`` means the second box where there
    is one; C reads beyond the first.
    """
    o, n, side = head.options, len(x), head.options.side
    cells = side * side
    classes, objectness, boxes = output.reshape(n, -1).split(
        (cells * o.classes, cells * o.num, cells * o.num * o.coords), 1)
    classes, objectness = classes.reshape(n, cells, o.classes), objectness.reshape(n, cells, o.num)
    boxes = boxes.reshape(n, cells, o.num, o.coords)
    if o.softmax:
        classes = classes.softmax(2)

    image, cell, targets, labels = _objects(head, truth.to(x.device))
    k = torch.arange(len(image), device=x.device)
    theirs, ours = targets.clone(), boxes[image, cell, :, :4].clone()      # (K, 4), (K, B, 4)
    theirs[:, :2] /= side
    ours[..., :2] /= side
    if o.sqrt:
        ours[..., 2:] = ours[..., 2:].square()
    overlap = iou(ours, theirs[:, None])                                # (K, B)
    apart = (ours - theirs[:, None]).square().sum(2)
    best = torch.where((overlap > 0).any(1), overlap.argmax(1), apart.argmin(1))
    if o.forced:
        best = torch.where(theirs[:, 2] * theirs[:, 3] < SMALL_AREA, min(1, o.num - 1), 0)
    if o.random and context.seen < RANDOM_IMAGES:
        best = torch.randint(o.num, k.shape, generator=torch.Generator().manual_seed(context.seen)).to(x.device)

    d_classes, d_boxes = torch.zeros_like(classes), torch.zeros_like(boxes)
    d_objectness = -o.noobject_scale * objectness
    target = (labels[:, None] == torch.arange(o.classes, device=x.device)).to(classes.dtype)
    d_classes[image, cell] = o.class_scale * (target - classes[image, cell])
    d_objectness[image, cell, best] = \
        o.object_scale * ((overlap[k, best] if o.rescore else 1) - objectness[image, cell, best])
    if o.sqrt:
        targets[:, 2:] = targets[:, 2:].sqrt()
    d_boxes[image, cell, best, :4] = o.coord_scale * (targets - boxes[image, cell, best, :4])

    delta = torch.cat([d_classes.flatten(1), d_objectness.flatten(1), d_boxes.flatten(1)], 1)
    figures = {"iou": mean(overlap[k, best]), "class": mean(classes[image, cell][target > 0]),
               "all_classes": mean(classes[image, cell]), "objectness": mean(objectness[image, cell, best]),
               "no_object": mean(objectness), "count": cell.new_tensor(len(cell))}
    return HeadLoss(delta.view_as(x), delta.square().sum(), figures=figures)


def _objects(head: Detection, truth: Truth) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The objects assigned to cells: (K,) image, (K,) cell, (K, 4) x and y within the cell, w, h, and (K,) label."""
    side = head.options.side
    image, number = ((truth.labels >= 0) & (truth.boxes[..., 2:] >= LEAST_SIZE).all(2)).nonzero(as_tuple=True)
    boxes, labels = truth.boxes[image, number].clone(), truth.labels[image, number]
    boxes[:, :2] *= side
    column, row = boxes[:, :2].long().clamp(0, side - 1).unbind(1)
    boxes[:, 0] -= column
    boxes[:, 1] -= row
    key, inverse = ((image * side + row) * side + column).unique(return_inverse=True)
    order = torch.arange(len(inverse), device=key.device)
    first = torch.full_like(key, len(inverse)).scatter_reduce_(0, inverse, order, "amin")
    return image[first], (row * side + column)[first], boxes[first], labels[first]
