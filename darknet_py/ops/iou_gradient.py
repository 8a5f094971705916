"""Gradient of the overlap (IoU, GIoU, DIoU, CIoU) of two boxes, as Darknet computes it."""
from __future__ import annotations

import math

import torch
from torch import Tensor

from darknet_py.ops.boxes import cxcywh_to_xyxy


def overlap_gradient(predicted: Tensor, truth: Tensor, kind: str) -> Tensor:
    """The gradient by which C raises the overlap of a predicted box with a ground-truth box.

    Args:
        predicted, truth: (..., 4) cxcywh.
        kind: "iou", "giou", "diou" or "ciou".

    Returns:
        (..., 4): by center x, center y, width and height of ``predicted``; NaN or infinite where a box is flat.

    Darknet: dx_box_iou. It is not the derivative everywhere. Width and height get twice theirs. The enclosing box's
    part in diou and ciou has the opposite sign for the center. Ciou's aspect term lacks its denominator, w^2 + h^2,
    and takes its weight for a constant. Boxes that lie apart have a shared "area" nevertheless, the product of the gaps
    with their signs, which iou alone goes by; giou, diou and ciou then drop iou's own part.
    """
    left, top, right, bottom = cxcywh_to_xyxy(predicted).unbind(-1)
    left_, top_, right_, bottom_ = cxcywh_to_xyxy(truth).unbind(-1)
    width, height = right - left, bottom - top
    shared_width = torch.fmin(right, right_) - torch.fmax(left, left_)
    shared_height = torch.fmin(bottom, bottom_) - torch.fmax(top, top_)
    shared = shared_width * shared_height
    union = width * height + (bottom_ - top_) * (right_ - left_) - shared

    # By the four sides: left, top, right, bottom.
    area = torch.stack([-height, -width, height, width])
    d_shared = torch.stack([torch.where(left > left_, -shared_height, 0), torch.where(top > top_, -shared_width, 0),
                            torch.where(right < right_, shared_height, 0),
                            torch.where(bottom < bottom_, shared_width, 0)])
    d_union = area - d_shared
    sides = torch.where(union > 0, (union * d_shared - shared * d_union) / (union * union), 0)
    # Where a box is smaller than float32 can tell, its two sides count as one.
    sides[0] = torch.where(left < right, sides[0], sides[2])
    sides[1] = torch.where(top < bottom, sides[1], sides[3])

    apart = (shared_width <= 0) | (shared_height <= 0)
    wider = torch.fmax(right, right_) - torch.fmin(left, left_)
    taller = torch.fmax(bottom, bottom_) - torch.fmin(top, top_)
    outside = [left < left_, top < top_, right > right_, bottom > bottom_]
    if kind == "giou":
        enclosing = wider * taller
        d_enclosing = torch.stack([torch.where(where, size, 0) for where, size in
                                   zip(outside, [-taller, -wider, taller, wider], strict=True)])
        term = (enclosing * d_union - union * d_enclosing) / (enclosing * enclosing)
        sides = torch.where(apart, term, torch.where(enclosing > 0, sides + term, sides))
    gradient = torch.stack([sides[0] + sides[2], sides[1] + sides[3], sides[2] - sides[0], sides[3] - sides[1]], -1)
    if kind not in ("diou", "ciou"):
        return gradient

    diagonal = wider * wider + taller * taller
    offset = truth[..., :2] - predicted[..., :2]
    distance = offset.square().sum(-1)
    out = [where.to(left.dtype) for where in outside]
    d_diagonal = 2 * torch.stack([wider * (out[2] - out[0]), taller * (out[3] - out[1]),
                                  wider * (out[2] + out[0]) / 2, taller * (out[3] + out[1]) / 2], -1)
    pull = d_diagonal * distance[..., None]
    term = torch.cat([2 * offset * diagonal[..., None] - pull[..., :2], pull[..., 2:]], -1) \
        / (diagonal * diagonal)[..., None]
    if kind == "ciou":
        turn = torch.atan(truth[..., 2] / truth[..., 3]) - torch.atan(predicted[..., 2] / predicted[..., 3])
        aspect = 4 / math.pi ** 2 * turn * turn
        weight = aspect / (1 - shared / union + aspect + 1e-6)
        turn = 8 / math.pi ** 2 * turn * weight
        term[..., 2] += turn * predicted[..., 3]
        term[..., 3] -= turn * predicted[..., 2]
    return torch.where(apart[..., None], term, torch.where((diagonal > 0)[..., None], gradient + term, gradient))
