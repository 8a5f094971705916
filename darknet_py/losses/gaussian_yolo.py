"""The loss of [Gaussian_yolo]."""
from __future__ import annotations

import math

import torch
from torch import Tensor

from darknet_py.data.targets import Truth
from darknet_py.layers.base import TrainingContext
from darknet_py.layers.gaussian_yolo import GaussianYolo
from darknet_py.layers.yolo import AnchorHead
from darknet_py.losses.anchor_matching import (
    Locations,
    best_overlap,
    constant,
    match,
    move,
    predicted_boxes,
    usable_truth,
)
from darknet_py.losses.anchor_targets import BoxDeltas, assign_targets
from darknet_py.losses.base import HeadLoss, loss
from darknet_py.losses.yolo import SEEN, bounded, overlap_deltas, overlap_matches
from darknet_py.ops.boxes import iou

POINTS = {"center": 0., "left_top": -.5, "right_bottom": .5}
LEAST_DEVIATION = .3            # added to deviations
EPSILON = 1e-9                  # added to densities


@loss("Gaussian_yolo")
def gaussian_yolo_loss(head: GaussianYolo, x: Tensor, output: Tensor, truth: Truth,
                       context: TrainingContext) -> HeadLoss:
    """Darknet's delta of a [Gaussian_yolo].

    Args:
        x, output: (N, A * (9 + C), H, W) float32.
        truth: as ``yolo_loss`` takes it.

    The figures are what C prints: ``iou`` (giou unless ``iou_loss=mse``) and ``count`` of the matches, and an image's
    ``total_loss`` with its parts: ``class_loss``, ``iou_loss`` (of x, y and their deviations) and ``uc_loss`` (of w, h
    and their deviations; C's order of entries is another than it splits by).

    Darknet: forward_gaussian_yolo_layer, delta_gaussian_yolo_box. Truths whose class the head does not have are left
    out, where C writes elsewhere in memory.
    """
    o, y, point = head.options, head.split(output), POINTS[head.options.yolo_point]
    smooth = bool(o.objectness_smooth)
    truth = usable_truth(head, truth)
    locations = Locations.all(y)
    matches = match(head, truth, locations.grid, context, point)
    predicted = predicted_boxes(head, y[:, :, 0:8:2].unbind(2), locations, context, point)
    best, which = best_overlap(predicted, move(truth.boxes, y.device), smooth or o.truth_thresh < 1)
    objectness, probabilities = y[:, :, 8], y[:, :, 9:]
    delta = torch.zeros_like(y, memory_format=torch.contiguous_format)
    of_objectness = -o.obj_normalizer * objectness
    ignorable = torch.where((probabilities > SEEN).any(2), best, 0)
    ignored = ignorable > o.ignore_thresh
    if context.adversarial:
        scale = (predicted[2] * predicted[3]).sqrt()
        of_objectness = of_objectness * torch.where(ignored, 1, scale)
        seen = ~ignored[:, :, None] & (probabilities * objectness[:, :, None] > SEEN)
        delta[:, :, 9:] = torch.where(seen, -scale[:, :, None] * probabilities, 0)
    of_ignored = o.obj_normalizer * (ignorable * ignorable - objectness) if smooth else 0
    of_objectness = torch.where(ignored, of_ignored, of_objectness)
    extra = [overlap_matches(ignored, which, best, truth, boxes=False)] if smooth else []
    if o.truth_thresh < 1:
        close = best > o.truth_thresh
        of_close = o.obj_normalizer * ((best * best if smooth else 1) - objectness)
        of_objectness = torch.where(close, of_close, of_objectness)
        extra.append(overlap_matches(close, which, best, truth))
    delta[:, :, 8] = of_objectness
    assigned = assign_targets(head, y, delta, truth, matches, extra, context, gaussian_boxes, gaussian=True)

    squares = delta.square().sum((0, 1, 3, 4))                          # by entry
    cost, count = squares.sum(), len(assigned.label)
    images = len(y)
    return HeadLoss(delta.flatten(1, 2), cost, o.delta_normalizer, {
        "iou": assigned.box_deltas.overlap.sum() / max(1, count), "count": cost.new_full((), count),
        "class_loss": squares[8:].sum() / images, "iou_loss": squares[:4].sum() / images,
        "uc_loss": squares[4:8].sum() / images, "total_loss": cost / images})


def gaussian_boxes(head: AnchorHead, values: Tensor, locations: Locations, truth: Tensor, factor: Tensor,
                   context: TrainingContext) -> BoxDeltas:
    """Gradients of the likelihood by means and deviations; with ``iou_loss`` those of means are of the overlap.

    Darknet: delta_gaussian_yolo_box."""
    o, point = head.options, POINTS[head.options.yolo_point]
    mean, deviation = values[:, 0:8:2], values[:, 1:8:2]                                      # (K, 4)
    predicted = predicted_boxes(head, mean.unbind(1), locations, context, point).T
    size = constant(locations.grid[::-1], values)
    anchors = constant(head.anchors, values)[locations.anchor]
    cell = torch.stack([locations.column, locations.row], 1)
    target = torch.cat([(truth[:, :2] + point * truth[:, 2:]) * size - cell,
                        (truth[:, 2:] * constant((context.width, context.height), values) / anchors).log()], 1)
    z = (target - mean) / deviation
    density = (z.square() * -.5).exp() / (math.sqrt(2 * math.pi) * (deviation + LEAST_DEVIATION))
    weight = .5 * density / (density + EPSILON) * (2 - truth[:, 2:3] * truth[:, 3:])
    step = weight * z / deviation
    spread = weight * (z.square() / deviation - 1 / (deviation + LEAST_DEVIATION)) * o.uc_normalizer
    overlap = iou(predicted, truth, "iou" if o.iou_loss == "mse" else "giou")
    if o.iou_loss != "mse":
        step = overlap_deltas(predicted, truth, o.iou_loss)
        step[:, :2] += point * step[:, 2:]
        step[:, 2:] *= mean[:, 2:].exp()
    step = step * (o.iou_normalizer * factor)[:, None]
    return BoxDeltas(bounded(torch.stack([step, spread], 2).flatten(1), o.max_delta), overlap, 1 - overlap)
