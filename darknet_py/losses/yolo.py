"""The loss of [yolo]."""
from __future__ import annotations

import torch
from torch import Tensor

from darknet_py.data.targets import Truth
from darknet_py.layers.base import TrainingContext
from darknet_py.layers.yolo import UNBOUNDED, AnchorHead, Yolo
from darknet_py.losses.anchor_matching import (
    Locations,
    Matches,
    best_overlap,
    constant,
    finite,
    match,
    move,
    predicted_boxes,
    usable_truth,
)
from darknet_py.losses.anchor_targets import BoxDeltas, OverlapMatches, assign_targets
from darknet_py.losses.base import HeadLoss, loss
from darknet_py.ops.boxes import iou
from darknet_py.ops.iou_gradient import overlap_gradient

SEEN = .25                      # a prediction with a class more likely than this is ignored where it overlaps a truth


@loss("yolo")
def yolo_loss(head: Yolo, x: Tensor, output: Tensor, truth: Truth, context: TrainingContext) -> HeadLoss:
    """Darknet's delta of a [yolo].

    Args:
        x, output: (N, A * (5 + C), H, W) float32.
        truth: on any device; on the CPU it saves ``output``'s device a halt, since matching needs no output.
        context: ``assigned`` gets this head's matches, ``rolling`` (largest, mean, deviation, threshold) is updated in
            place under ``num_sigmas_reject_badlabels``, ``badlabels_rejection_percentage`` or ``equidistant_point``.

    The figures are what C prints: ``iou`` and ``count`` of the matches, ``class_loss``, ``iou_loss`` and
    ``total_loss`` an image; and ``rewritten`` of ``boxes``, those assigned to a location that had one already.

    Darknet: forward_yolo_layer, process_batch, delta_yolo_box. Where C leaves its ways undefined or ends up in NaN: see
    ``usable_truth`` for the truths that are left out; a centre on the right or lower border counts to the last cell
    (C: to the next row); with ``iou_loss=mse`` a flat truth says nothing about the side that it lacks (C: the delta is
    infinite); a mini-batch without any delta leaves the rolling statistics as they are (C: NaN for ever).
    """
    o, y = head.options, head.split(output)
    smooth = bool(o.objectness_smooth)
    truth = usable_truth(head, truth)
    locations = Locations.all(y)
    matches = match(head, truth, locations.grid, context)
    predicted = predicted_boxes(head, y[:, :, :4].unbind(2), locations, context, square=bool(o.new_coords))
    best, which = best_overlap(predicted, move(truth.boxes, y.device), o.truth_thresh < 1)
    some = move((truth.labels >= 0).any(1), y.device)[:, None, None, None]
    objectness = torch.where(some, finite(y[:, :, 4]), y[:, :, 4])
    delta = torch.zeros_like(y, memory_format=torch.contiguous_format)
    of_objectness = -o.obj_normalizer * objectness
    ignorable = torch.where((y[:, :, 5:] > SEEN).any(2), best, 0)
    ignored = ignorable > o.ignore_thresh
    if context.adversarial:
        hiding = hiding_deltas(y, objectness, delta, predicted, ~ignored) * o.obj_normalizer
        of_objectness = torch.where(ignored, of_objectness, hiding)
    of_ignored = of_objectness.maximum(o.obj_normalizer * (ignorable - objectness)) if smooth else 0
    of_objectness = torch.where(ignored, of_ignored, of_objectness)
    extra = []
    if o.truth_thresh < 1:
        close = best > o.truth_thresh
        of_close = o.obj_normalizer * ((best * best if smooth else 1) - objectness)
        of_objectness = torch.where(close, of_close, of_objectness)
        extra.append(overlap_matches(close, which, best, truth))
    delta[:, :, 4] = of_objectness

    assigned = assign_targets(head, y, delta, truth, matches, extra, context, yolo_boxes, gaussian=False)
    context.assigned[head.place.index] = assigned_objects(matches, of_objectness, truth, assigned.label)
    reject_outliers(delta, context)

    overlap, missing, count = assigned.box_deltas.overlap.sum(), assigned.box_deltas.missing.sum(), len(assigned.label)
    others, boxes = delta[:, :, 4:].square().sum(), delta[:, :, :4].square().sum()
    cost = total = others + boxes
    if o.show_details:
        others = o.obj_normalizer * others
        if o.iou_loss != "mse":
            cost = others + o.iou_normalizer * missing / max(1, count)
    images = len(y)
    return HeadLoss(delta.flatten(1, 2), cost, o.delta_normalizer, {
        "iou": overlap / max(1, count), "count": cost.new_full((), count), "class_loss": others / images,
        "iou_loss": (total - others) / images, "total_loss": total / images, "rewritten": assigned.rewritten,
        "boxes": cost.new_full((), assigned.boxes)})


def overlap_matches(close: Tensor, which: Tensor, best: Tensor, truth: Truth, boxes: bool = True) -> OverlapMatches:
    """The predictions where ``close`` (N, A, H, W) is true, with their best truths."""
    location = close.view(-1).nonzero()[:, 0]
    image = location // close[0].numel()
    target = image * truth.labels.shape[1] + which.view(-1)[location]
    return OverlapMatches(location, target, best.view(-1)[location] if boxes else None)


def hiding_deltas(y: Tensor, objectness: Tensor, delta: Tensor, predicted: Tensor, where: Tensor) -> Tensor:
    """Deltas of an adversarial step, by which the picture changes until the network sees no objects.

    Where ``where`` (N, A, H, W) says so they are written into ``delta``, that of the objectness is returned.
    """
    scale = (predicted[2] * predicted[3]).sqrt()
    p = y[:, :, 5:]
    score = p * objectness[:, :, None]
    likely = score > SEEN
    found = (where & likely.any(2))[:, :, None]
    target = (~likely).to(p.dtype)
    scaled = scale[:, :, None]
    delta[:, :, 5:] = torch.where(found & (score != SEEN), scaled * (target - p), 0)
    delta[:, :, :4] = torch.where(found, -scaled * y[:, :, :4], 0)
    return -scale * objectness


def yolo_boxes(head: AnchorHead, values: Tensor, locations: Locations, truth: Tensor, factor: Tensor,
               context: TrainingContext) -> BoxDeltas:
    """Darknet: delta_yolo_box."""
    o = head.options
    predicted = predicted_boxes(head, values[:, :4].unbind(1), locations, context, square=bool(o.new_coords)).T
    overlap = iou(predicted, truth)
    missing = 1 - (iou(predicted, truth, "giou") if o.iou_loss == "giou" else overlap)
    factor = (o.iou_normalizer * factor)[:, None]
    if o.iou_loss == "mse":
        size = constant(locations.grid[::-1], values)
        anchors = constant(head.anchors, values)[locations.anchor]
        scale = truth[:, 2:] * constant((context.width, context.height), values) / anchors
        target = torch.cat([truth[:, :2] * size - torch.stack([locations.column, locations.row], 1),
                            (scale / 4).sqrt() if o.new_coords else scale.log()], 1)
        step = (2 - truth[:, 2:3] * truth[:, 3:]) * (target - values[:, :4]) * factor
        return BoxDeltas(torch.where(target.isfinite(), step, 0), overlap, missing)
    step = overlap_deltas(predicted, truth, o.iou_loss)
    if not o.new_coords:
        step[:, 2:] *= values[:, 2:4].exp()
    return BoxDeltas(bounded(step * factor, o.max_delta), overlap, missing)


def overlap_deltas(predicted: Tensor, truth: Tensor, kind: str) -> Tensor:
    """(K, 4) gradients of the overlap by the predicted box; a predicted size of 0 counts as 1, as in C."""
    size = predicted[:, 2:]
    return overlap_gradient(torch.cat([predicted[:, :2], torch.where(size == 0, 1, size)], 1), truth, kind)


def bounded(step: Tensor, most: float) -> Tensor:
    """NaN and infinity become 0, the rest stays within ``most``."""
    step = finite(step)
    return step if most >= UNBOUNDED else step.clamp(-most, most)


def assigned_objects(matches: Matches, like: Tensor, truth: Truth, label: Tensor) -> tuple[Tensor, Tensor]:
    """For ``TrainingContext.assigned``: of the truths whose best anchor a location is, the last one."""
    matches = matches.to(like.device)
    track = move(truth.tracks, like.device).flatten()[matches.truth]
    both = torch.full((2, like.numel()), -1, device=like.device)
    for rank in matches.ranks:
        location, new = matches.location[rank], torch.stack([track[rank], label[rank]])
        both[:, location] = torch.where(matches.best[rank], new, both[:, location])
    tracks, labels = both.view(2, *like.shape)
    return tracks, labels


def reject_outliers(delta: Tensor, context: TrainingContext) -> None:
    """Zero the deltas that are suspiciously large (bad labels) or small, late in training, in place.

    Darknet: the part of forward_yolo_layer under badlabels_rejection_percentage, num_sigmas_reject_badlabels and
    equidistant_point; the former two from iteration 3/4 max_batches on, the last from equidistant_point on.
    """
    net, iteration, start = context.net, context.iteration, context.net.max_batches * 3 // 4
    late = start < iteration
    sigmas, percentage = late * net.num_sigmas_reject_badlabels, late * net.badlabels_rejection_percentage
    equidistant = bool(net.equidistant_point) and net.equidistant_point < iteration
    if not (sigmas or percentage or equidistant):
        return
    largest, mean, deviation, threshold = context.rolling.to(delta.device, delta.dtype).unbind()
    size, where = delta.abs(), delta != 0
    count = where.sum()
    progress = (iteration - net.equidistant_point) / ((net.max_batches - net.equidistant_point) or 1)
    least = mean * progress * 1.4
    some = count > 0
    largest = torch.where(largest == 0, size.max(), largest)
    largest = torch.where(some, .99 * largest + .01 * size.max(), largest)
    mean = torch.where(some, .99 * mean + .01 * size.sum() / count, mean)
    if sigmas:
        now = torch.where(where, delta - mean, 0).square().sum().div(count).sqrt()
        final = mean + deviation * sigmas
        deviation = torch.where(some, .99 * deviation + .01 * now, deviation)
        most = largest - (iteration - start) / max(1, start) * (largest - final).abs()
        delta[size > most.maximum(final)] = 0
        least = final.minimum(mean) * progress
    if percentage:
        threshold = torch.where(threshold == 0, largest, threshold)
        bad = delta.abs() > threshold
        share = 100 * bad.sum() * delta.shape[2] / (delta != 0).sum()
        delta[bad] = 0
        threshold = torch.where(share > percentage, threshold + .01,
                                torch.where(threshold > .01, threshold - .01, threshold))
    if equidistant:
        delta[delta.abs() < least] = 0
    context.rolling.copy_(torch.stack([largest, mean, deviation, threshold]))
