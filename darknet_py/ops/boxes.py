"""Box arithmetic: formats, the overlap family and non-maximum suppression, with C's values.

A box is four numbers in the last dimension: ``cxcywh`` (centre, width, height) or ``xyxy`` (left, top, right, bottom).
The unit does not matter, as long as both boxes of a pair share it.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

IOU_KINDS = ("iou", "giou", "diou", "ciou")
GREEDY_EXPONENT = 0.6     # fixed in C's box_diou


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) centre and size to (..., 4) left, top, right, bottom."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), -1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """(..., 4) left, top, right, bottom to (..., 4) centre and size."""
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top), -1)


def iou(a: Tensor, b: Tensor, kind: str = "iou", beta: float = GREEDY_EXPONENT) -> Tensor:
    """Overlap of two sets of boxes.

    Args:
        a, b: (..., 4) cxcywh; the leading dimensions broadcast against each other.
        kind: "iou", "giou", "diou" or "ciou".
        beta: the exponent of diou's distance term; the other kinds ignore it.

    Returns:
        (...): iou in [0, 1]; giou and diou in [-1, 1]; ciou in [-2, 1] (for boxes that are not flat). All are symmetric
        in a and b.

    Raises:
        ValueError: an unknown kind.

    Darknet: box_iou, box_giou, box_diou (beta 0.6), box_diounms (any beta), box_ciou. Boxes that do not overlap, or
    whose union is empty, have an iou of 0. Where the enclosing box is empty the other kinds equal iou. A box of height
    0 makes ciou NaN, as in C.
    """
    if kind not in IOU_KINDS:
        raise ValueError(f"kind must be one of {', '.join(IOU_KINDS)}, got {kind!r}")
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.unbind(-1), b.unbind(-1)
    a_left, a_top, a_right, a_bottom = cxcywh_to_xyxy(a).unbind(-1)
    b_left, b_top, b_right, b_bottom = cxcywh_to_xyxy(b).unbind(-1)

    width = torch.fmin(a_right, b_right) - torch.fmax(a_left, b_left)
    height = torch.fmin(a_bottom, b_bottom) - torch.fmax(a_top, b_top)
    shared = torch.where((width < 0) | (height < 0), 0, width * height)
    union = aw * ah + bw * bh - shared
    value = torch.where((shared == 0) | (union == 0), 0, shared / union)
    if kind == "iou":
        return value

    width = torch.fmax(a_right, b_right) - torch.fmin(a_left, b_left)
    height = torch.fmax(a_bottom, b_bottom) - torch.fmin(a_top, b_top)
    if kind == "giou":
        enclosing = width * height
        penalty = (enclosing - union) / enclosing
    else:
        enclosing = width * width + height * height
        penalty = ((ax - bx) * (ax - bx) + (ay - by) * (ay - by)) / enclosing
        if kind == "diou":
            penalty = penalty ** beta
        else:
            turn = torch.atan(bw / bh) - torch.atan(aw / ah)
            aspect = 4 / math.pi ** 2 * turn * turn
            penalty = penalty + aspect / (1 - value + aspect + 1e-6) * aspect
    return torch.where(enclosing == 0, value, value - penalty)


def within(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Boxes (K, 4) in whole pixels, cut off at the edges of a picture of that shape (H, W, ...); those outside of it
    have no pixel."""
    edges, limit = np.nan_to_num(boxes), [shape[1], shape[0]] * 2
    return np.concatenate([np.floor(edges[:, :2]), np.ceil(edges[:, 2:])], 1).clip(0, limit).astype(int)
