"""Non-maximum suppression, in C's order and by C's kinds of overlap."""
from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from darknet_py.ops.boxes import GREEDY_EXPONENT, cxcywh_to_xyxy, iou

NMS_KINDS = ("default", "greedynms", "diounms", "cornersnms")
CHUNK = 1 << 19           # numbers in one temporary of nms
FIRST_ROWS = 512          # after so many boxes, and then half as many more each time, nms drops the suppressed
SLACK = 1.001             # factor that covers the rounding error of the quick overlap test
EDGES = 1 << 22           # undecided edges that nms collects before it settles those it can
OPEN = 1 << 23            # undecided edges that nms keeps; with more it writes down which boxes overlap, a bit a pair
TABLE = 1 << 28           # bytes of those bits; with more nms goes through the classes one by one
SWEEP = 8                 # a pair that a sweep lists takes the time of so many of those that are compared row by row
CLASSES = 256             # classes that are suppressed side by side
FIRST_BLOCK, BLOCK = 4, 512     # boxes of a class that are compared with the rest at once: at first, and at most


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
    exponent = distance_exponent(kind, beta)
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
    sweep: tuple[Tensor, Tensor] | None = None

    def settle(complete: int) -> None:
        better, worse = (torch.cat(side) for side in zip(*edges, strict=True))
        edges[:] = [_settle(better, worse, nodes, reached, complete)]

    while len(rest):
        rows = len(rest) if sweep is not None else max(1, min(CHUNK // len(rest), settle_at - compared))
        near = ([_near_pairs(sides, rest, rows, threshold)] if sweep is None
                else _near_pairs_of_sweep(sides, *sweep, threshold))
        for i, j in _overlapping_pairs(boxes, near, threshold, exponent, classes):
            edges.append(_edges(i, j, alive, order))
            if sum(len(better) for better, _ in edges) > limit:
                settle(int(rest[0]) * classes)
                limit = max(EDGES, 2 * len(edges[0][0]))
                if limit > OPEN:
                    suppress = _suppress_by_table if len(order) ** 2 // 8 <= TABLE else _suppress_by_class
                    suppress(boxes, alive, order, threshold, exponent)
                    edges, rest = [], rest[:0]
                    break
        compared, rest = compared + rows, rest[rows:]
        if edges and (compared >= settle_at or not len(rest)):
            settle(int(rest[0]) * classes if len(rest) else len(nodes))
            rest = rest[(alive[rest] > 0).any(1)]
        if compared >= settle_at:
            settle_at += settle_at // 2
            if threshold >= 0 and len(rest):
                order_of_sweep, counts = _sweep(sides, rest)
                if SWEEP * int(counts.sum()) < (settle_at - compared) * len(rest):
                    sweep = order_of_sweep, counts
    result = scores.clone()
    result[order] = alive
    return result


def distance_exponent(kind: str, beta: float) -> float | None:
    """The exponent of the distance term by which diou is below iou, for one of ``NMS_KINDS``; None: overlap is iou."""
    return {"greedynms": GREEDY_EXPONENT, "diounms": beta}.get(kind)


def _suppress_by_table(boxes: Tensor, alive: Tensor, order: Tensor, threshold: float, exponent: float | None) -> None:
    """Greedy suppression of many classes side by side: set the scores ``alive`` (N, C) of what is suppressed to 0, in
    place. Memory is a bit for each pair of boxes, and for each box in CLASSES classes; time is for N steps of them.

    Whether two boxes overlap does not depend on the class, so the table of it is made once. Step k then takes the box
    of rank k in each class, and if that is not suppressed adds its row of the table to what the class suppresses.

    order: (N,) the number of each box, which decides between equal scores.
    """
    everything = torch.arange(len(boxes), device=boxes.device)
    width = -(-len(boxes) // 64) * 8                                                # whole words of 64 bits
    table = np.zeros((len(boxes), width), np.uint8)
    for block in everything.split(max(1, CHUNK // len(boxes))):
        rows = np.packbits(_overlap_table(boxes, block, everything, threshold, exponent).cpu().numpy(), axis=1)
        table[block.cpu(), :rows.shape[1]] = rows
    words, by_number = table.view(np.uint64), order.argsort()
    for scores in alive.split(CLASSES, dim=1):
        ranked, order_of_class = scores[by_number].sort(dim=0, descending=True, stable=True)
        ranking, scored = by_number[order_of_class].cpu().numpy(), (ranked > 0).cpu().numpy()       # (N, classes)
        suppressed = np.zeros((scores.shape[1], width), np.uint8)
        suppressed_words, kept = suppressed.view(np.uint64), np.zeros(scores.shape, bool)
        for box, counts in zip(ranking, scored, strict=True):
            is_suppressed = suppressed[np.arange(len(box)), box >> 3] & (128 >> (box & 7))
            label = np.flatnonzero(counts & (is_suppressed == 0))
            box = box[label]
            kept[box, label] = True
            suppressed_words[label] |= words[box]
        scores[torch.from_numpy(~kept).to(scores.device)] = 0


def _suppress_by_class(boxes: Tensor, alive: Tensor, order: Tensor, threshold: float, exponent: float | None) -> None:
    """Greedy suppression of one class after the other: set the scores ``alive`` (N, C) of what is suppressed to 0, in
    place. Memory is for N boxes; of each class it looks at the pairs of a box that is kept and one not suppressed yet.

    order: (N,) the number of each box, which decides between equal scores.
    """
    by_number = order.argsort()
    for label in range(alive.shape[1]):
        scores = alive[by_number, label]
        here = by_number[scores > 0]
        rest = here[scores[scores > 0].argsort(descending=True, stable=True)]       # the best first
        size = FIRST_BLOCK
        while len(rest):
            size = max(1, min(size, CHUNK // len(rest)))
            block, others = rest[:size], rest[size:]
            within = _overlap_table(boxes, block, block, threshold, exponent).cpu().numpy()
            keep = np.ones(len(block), bool)
            for row in range(len(block)):
                if keep[row]:
                    keep[row + 1:] &= ~within[row, row + 1:]
            kept = torch.from_numpy(keep).to(block.device)
            beaten = _overlap_table(boxes, block[kept], others, threshold, exponent).any(0)
            alive[block[~kept], label] = 0
            alive[others[beaten], label] = 0
            rest, size = others[~beaten], min(2 * size, BLOCK)


def _overlap_table(boxes: Tensor, i: Tensor, j: Tensor, threshold: float, exponent: float | None) -> Tensor:
    """(I, J) whether boxes (I,) and (J,) overlap by more than the threshold."""
    a, b = boxes[i][:, None], boxes[j]
    return (iou(a, b) if exponent is None else iou(a, b, "diou", exponent)) > threshold


def _overlapping_pairs(boxes: Tensor, near: Iterable[tuple[Tensor, Tensor]], threshold: float,
                       exponent: float | None, classes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (i, j) index tensors of those of the ``near`` pairs that overlap by more than the threshold. Pairs come in
    parts, the smaller the more classes there are, to bound memory."""
    part = max(1, 4 * CHUNK // classes)
    for i, j in near:
        exact = iou(boxes[i], boxes[j]) if exponent is None else iou(boxes[i], boxes[j], "diou", exponent)
        i, j = i[exact > threshold], j[exact > threshold]
        if len(i) > 0:
            yield from zip(i.split(part), j.split(part), strict=True)


def _near_pairs(sides: Tensor, rest: Tensor, rows: int, threshold: float) -> tuple[Tensor, Tensor]:
    """The pairs i < j of ``rest``, i among its first ``rows``, that may overlap by more than the threshold.

    sides: (5, N) left, top, right, bottom, area of the boxes.
    """
    b = sides[:, rest]
    i, j = _is_near(b[:, :rows, None], b, threshold).triu_(1).nonzero().unbind(1)
    return rest[i], rest[j]


def _sweep(sides: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes of ``rest`` by their left edges, and (R,) how many of those after each begin before its right edge; or
    the same from top to bottom, where that gives fewer pairs. No other pairs have an area in common."""
    found = []
    for low, high in ((0, 2), (1, 3)):
        begins, order = sides[low, rest].sort()
        order = rest[order]
        place = torch.arange(len(rest), device=rest.device)
        found.append((order, (torch.searchsorted(begins, sides[high, order]) - place - 1).clamp_(min=0)))
    return min(found, key=lambda one: int(one[1].sum()))


def _near_pairs_of_sweep(sides: Tensor, order: Tensor, counts: Tensor, threshold: float
                         ) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the pairs i < j of a sweep that may overlap by more than the threshold, which is not negative."""
    cuts = (counts.cumsum(0) // CHUNK).diff().nonzero()[:, 0] + 1
    for part in torch.arange(len(order), device=order.device).tensor_split(cuts.cpu()):
        many = counts[part]
        first = part.repeat_interleave(many)
        place = torch.arange(len(first), device=order.device) - (many.cumsum(0) - many).repeat_interleave(many)
        i, j = order[first], order[first + 1 + place]
        near = _is_near(sides[:, i], sides[:, j], threshold)
        i, j = i[near], j[near]
        yield torch.minimum(i, j), torch.maximum(i, j)


def _is_near(a: Tensor, b: Tensor, threshold: float) -> Tensor:
    """Whether boxes may overlap by more than the threshold: a test with fewer operations than C's arithmetic, which
    excludes most pairs. It holds for diou too, whose distance term only lowers iou.

    a, b: (5, ...) left, top, right, bottom, area.
    """
    width = torch.minimum(a[2], b[2]).sub_(torch.maximum(a[0], b[0])).clamp_(min=0)
    shared = torch.minimum(a[3], b[3]).sub_(torch.maximum(a[1], b[1])).clamp_(min=0).mul_(width)
    return shared.mul_((1 + threshold) * SLACK) > threshold * a[4] + threshold * b[4]


def _edges(i: Tensor, j: Tensor, alive: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Edges of pairs of boxes (P,): in each class where both have a score, the better and the worse node (E,) each.

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
