"""Box arithmetic: formats, the overlap family and non-maximum suppression, with C's values.

A box is four numbers in the last dimension: ``cxcywh`` (centre, width, height) or ``xyxy`` (left, top, right, bottom).
The unit does not matter, as long as both boxes of a pair share it.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

IOU_KINDS = ("iou", "giou", "diou", "ciou")
NMS_KINDS = ("default", "greedynms", "diounms", "cornersnms")
GREEDY_EXPONENT = 0.6     # fixed in C's box_diou
CHUNK = 1 << 19           # numbers in one temporary of nms
FIRST_ROWS = 512          # after so many boxes, and then half as many more each time, nms drops the suppressed
SLACK = 1.001             # what a quick look at an overlap may be off by
EDGES = 1 << 22           # open contests that nms gathers before it settles what it can


class Truth(NamedTuple):
    """Labelled boxes of a batch, each image's padded to the same number.

    boxes: (N, M, 4) float32 cxcywh, relative to the network's input; 0 where there is none.
    labels: (N, M) int64 class numbers, -1 where there is no box.
    tracks: (N, M) int64, which object it is, the same in all pictures of a sequence; 0 where nobody said.
    """

    boxes: Tensor
    labels: Tensor
    tracks: Tensor

    @classmethod
    def stack(cls, images: Sequence[np.ndarray]) -> Truth:
        """From one array (K, 5 or 6) an image: class, center x, center y, width, height, track."""
        most = max((len(rows) for rows in images), default=0)
        table = np.zeros((len(images), most, 6), np.float32)
        table[:, :, 0] = -1
        for at, rows in zip(table, images, strict=True):
            at[:len(rows), :rows.shape[1]] = rows
        x = torch.from_numpy(table)
        return cls(x[..., 1:5].contiguous(), x[..., 0].long(), x[..., 5].long())

    def to(self, device: torch.device | str) -> Truth:
        return Truth(*(x.to(device, non_blocking=True) for x in self))


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


def nms(boxes: Tensor, scores: Tensor, threshold: float, kind: str = "default",
        beta: float = GREEDY_EXPONENT) -> Tensor:
    """Non-maximum suppression, each class on its own.

    A box is suppressed in a class where it overlaps a box of a higher score that is not suppressed itself. Of equal
    scores the earlier box wins.

    Args:
        boxes: (B, 4) cxcywh.
        scores: (B, C); only scores above 0 take part.
        threshold: an overlap strictly above it suppresses.
        kind: what overlap means. "default" and "cornersnms": iou; "greedynms": diou with the exponent 0.6; "diounms":
            diou with the exponent ``beta``.
        beta: see kind.

    Returns:
        (B, C): a copy of scores, 0 where suppressed.

    Raises:
        ValueError: an unknown kind.

    Darknet: do_nms_sort, diounms_sort. Two deviations, both only among equal scores: C's qsort need not be stable,
    and it starts each class from the order that the class before it left behind.
    """
    if kind not in NMS_KINDS:
        raise ValueError(f"kind must be one of {', '.join(NMS_KINDS)}, got {kind!r}")
    exponent = {"greedynms": GREEDY_EXPONENT, "diounms": beta}.get(kind)
    active = (scores > 0).any(1).nonzero()[:, 0]
    if not len(active):
        return scores.clone()
    # The best come first, since their rows settle most of the others.
    order = active[scores[active].amax(1).argsort(descending=True)]
    boxes, alive = boxes[order].float(), scores[order].contiguous()                # (N, 4), (N, C)
    sides = torch.cat([cxcywh_to_xyxy(boxes), boxes[:, 2:].prod(1, keepdim=True)], 1).T.contiguous()    # (5, N)
    nodes, classes = alive.view(-1), scores.shape[1]
    reached = torch.zeros_like(nodes, dtype=torch.bool)
    edges: list[tuple[Tensor, Tensor]] = []
    rest = torch.arange(len(order), device=order.device)        # boxes with a score left, whose pairs are yet to come
    compared, settle_at, limit = 0, FIRST_ROWS, EDGES

    def settle(complete: int) -> None:
        better, worse = (torch.cat(side) for side in zip(*edges, strict=True))
        edges[:] = [_settle(better, worse, nodes, reached, complete)]

    while len(rest):
        rows = max(1, min(CHUNK // len(rest), settle_at - compared))
        for i, j in _overlapping_pairs(boxes, sides, rest, rows, threshold, exponent, classes):
            edges.append(_edges(i, j, alive, order))
            if sum(len(better) for better, _ in edges) > limit:
                settle(int(rest[0]) * classes)
                limit = max(EDGES, 2 * len(edges[0][0]))
        compared, rest = compared + rows, rest[rows:]
        if edges and (compared >= settle_at or not len(rest)):
            settle(int(rest[0]) * classes if len(rest) else len(nodes))
            rest = rest[(alive[rest] > 0).any(1)]
        if compared >= settle_at:
            settle_at += settle_at // 2
    result = scores.clone()
    result[order] = alive
    return result


def _overlapping_pairs(boxes: Tensor, sides: Tensor, rest: Tensor, rows: int, threshold: float,
                       exponent: float | None, classes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (i, j) index tensors of the pairs i < j of ``rest``, i among its first ``rows``, that overlap by more than
    the threshold.

    Most pairs do not, which fewer operations tell than C's arithmetic takes; the distance term of diou only lowers
    iou. The pairs are handed out in parts that suit the number of classes they will be looked up in.

    sides: (5, N) left, top, right, bottom, area of the boxes.
    """
    b = sides[:, rest]
    a = b[:, :rows, None]                                                           # (5, rows, 1)
    width = torch.minimum(a[2], b[2]).sub_(torch.maximum(a[0], b[0])).clamp_(min=0)
    shared = torch.minimum(a[3], b[3]).sub_(torch.maximum(a[1], b[1])).clamp_(min=0).mul_(width)
    near = shared.mul_((1 + threshold) * SLACK) > threshold * a[4] + threshold * b[4]
    i, j = near.triu_(1).nonzero().unbind(1)
    i, j = rest[i], rest[j]
    exact = iou(boxes[i], boxes[j]) if exponent is None else iou(boxes[i], boxes[j], "diou", exponent)
    i, j = i[exact > threshold], j[exact > threshold]
    part = max(1, 4 * CHUNK // classes)
    if len(i) > 0:
        yield from zip(i.split(part), j.split(part), strict=True)


def _edges(i: Tensor, j: Tensor, alive: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """The contests of pairs of boxes (P,): in each class where both have a score, the better and the worse (E,) each.

    A node of this graph is a box in a class, numbered as in ``alive.view(-1)``.
    """
    pair, label = ((alive[i] > 0) & (alive[j] > 0)).nonzero().unbind(1)
    i, j = i[pair], j[pair]
    first, second = alive[i, label], alive[j, label]
    wins = (first > second) | ((first == second) & (order[i] < order[j]))
    i, j = i * alive.shape[1] + label, j * alive.shape[1] + label
    return torch.where(wins, i, j), torch.where(wins, j, i)


def _settle(better: Tensor, worse: Tensor, alive: Tensor, reached: Tensor, complete: int) -> tuple[Tensor, Tensor]:
    """Greedy suppression on a graph: set the scores ``alive`` (nodes,) of suppressed nodes to 0, in place.

    A node that no edge reaches is kept, so all it reaches is suppressed, and a suppressed node's edges are void. Each
    round does that for one level of the graph, which has no cycles, until nothing changes.

    Only nodes below ``complete`` have all their edges here, the others are never taken as kept. ``reached`` (nodes,) is
    all False, before and after. Returns the edges that are still open.
    """
    while len(better):
        reached[worse] = True
        kept = ~reached[better] & (better < complete)
        reached[worse] = False
        if not kept.any():
            break
        alive[worse[kept]] = 0
        is_open = (alive[better] > 0) & (alive[worse] > 0)
        better, worse = better[is_open], worse[is_open]
    return better, worse
