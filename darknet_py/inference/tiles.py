"""Tiles of a picture: cut, and their detections merged into those of the picture."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import CfgError, DarknetError, Reason
from darknet_py.model.network import Network
from darknet_py.ops.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh

MOST_TILES = 100        # of a picture, which all run in one batch
MOST_OVERLAP = .9
EDGE = .05              # of a box's side: nearer to the edge of its tile it counts as cut there
ROOM = .3               # of a box's side: what a tile has around a box that it is sure to have complete
SLACK = .01             # of a tile's side: how far beyond their common part two tiles are compared
AGREE = .5              # IoU above which two tiles show the same object
LEAST = .5              # of a cut box's score: what a complete one of its class needs to take its place
CHUNK = 1 << 18         # pairs of boxes that are compared at once
OUTWARD = torch.tensor([-1., -1, 1, 1])


class Tiling(NamedTuple):
    """Tiles of a picture in columns and rows. Neighbours share ``overlap`` of their width or height, in [0, .9]."""

    columns: int
    rows: int
    overlap: float = .2

    @classmethod
    def of(cls, tiles: str | Sequence[int] | None, overlap: float = .2, network: Network | None = None
           ) -> Tiling | None:
        """A tiling as users write it, "3x2" or (3, 2) for 3 columns and 2 rows; None for one tile, or None.

        Args:
            network: that will look at the tiles.

        Raises:
            DarknetError: tiles or an overlap that cannot be.
            CfgError: see ``check``.
        """
        if tiles is None:
            return None
        match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", tiles, re.I) if isinstance(tiles, str) else None
        sides = list(map(int, match.groups())) if match else [] if isinstance(tiles, str) else list(tiles)
        if len(sides) != 2 or min(sides) < 1 or sides[0] * sides[1] > MOST_TILES:
            raise DarknetError(f"tiles need COLUMNSxROWS such as 2x2, at most {MOST_TILES} in all, found {tiles}")
        if not 0 <= overlap <= MOST_OVERLAP:
            raise DarknetError(f"the overlap of tiles needs a number from 0 to {MOST_OVERLAP}, found {overlap}")
        if sides == [1, 1]:
            return None
        made = cls(sides[0], sides[1], overlap)
        if network is not None:
            made.check(network)
        return made

    def check(self, network: Network) -> None:
        """Raises:
            CfgError: the network remembers earlier images, for which it would take other tiles.
        """
        layer = next((one for one in network.layers if one.stateful), None)
        if layer is not None:
            raise CfgError(f"layer {layer.place.index} [{layer.kind}] remembers earlier images, so pictures cannot be "
                           "cut into tiles", Reason.WRONG_TASK, network.cfg.path, layer.place.section.line)

    @property
    def inputs(self) -> int:
        """Inputs of the network for a picture: the tiles and the whole."""
        return self.columns * self.rows + 1

    def cut(self, height: int, width: int) -> np.ndarray:
        """(tiles + 1, 4) int64 left, top, right, bottom of the tiles, row by row, and of the whole picture, in pixels.

        As many and at least a pixel wide and high however small the picture is.
        """
        (left, wide), (top, high) = (_spread(side, count, self.overlap) for side, count in (
            (width, self.columns), (height, self.rows)))
        tiles = [(x, y, x + wide, y + high) for y in top for x in left]
        return np.array([*tiles, (0, 0, width, height)])


def _spread(side: int, count: int, overlap: float) -> tuple[list[int], int]:
    """Where ``count`` tiles begin on a side, and how long each is, in pixels."""
    length = min(side, int(np.ceil(side / (count - (count - 1) * overlap) - 1e-9)))
    return np.linspace(0, side - length, count).round().astype(int).tolist(), length


def merge_tiles(parts: Sequence[tuple[Tensor, Tensor]], tiles: np.ndarray,
                suppress: Callable[[Tensor, Tensor], Tensor] | None) -> tuple[Tensor, Tensor]:
    """The detections of a picture from those of its tiles.

    Of the whole picture only boxes count for which no tile has room, as tiles show all others larger. Each tile is
    suppressed alone; then the complete boxes of all tiles together, so that of what lies in an overlap one remains. A
    box that an inner edge of its tile cuts is dropped where another tile has a complete one for it that is at least as
    certain, or of the same class at least ``LEAST`` times as certain. Cut boxes of an object that no tile has complete
    become one box around them, of the highest score. All is suppressed once more in the end.

    Whether boxes of two tiles are the same object is decided where both tiles look: there their IoU must be above
    ``AGREE``, a box going on beyond an edge that cuts it. So a half agrees with the whole, and neighbours do not.

    Args:
        parts: of each tile: (B, 4 + E) boxes cxcywh relative to the tile, behind each its embedding, if any; (B, C)
            scores before suppression.
        tiles: (T, 4), see ``Tiling.cut``; the last is the whole picture.
        suppress: non-maximum suppression of boxes (B, 4) cxcywh relative to the picture and scores (B, C), which gives
            (B, C) scores, 0 where they are suppressed. None keeps all boxes.

    Returns:
        (B, 4 + E) boxes cxcywh relative to the picture, and (B, C) scores, 0 where there is none. Merged boxes have the
        embedding of the one of the highest score.

    Source: after greedy non-maximum merging in SAHI (Akyon et al., 2022, arXiv:2202.06934), which merges all boxes that
    cover half of the smaller one.
    """
    device = parts[0][0].device
    sides = torch.from_numpy(tiles).to(device, torch.float32)                       # (T, 4)
    picture, scores = sides[-1, 2:].repeat(2), [part for _, part in parts]
    sizes = (sides[:, 2:] - sides[:, :2]).repeat(1, 2)
    embeddings = torch.cat([boxes[:, 4:] for boxes, _ in parts])
    pixels = [boxes[:, :4] * size + torch.cat([side[:2], side.new_zeros(2)])
              for (boxes, _), side, size in zip(parts, sides, sizes, strict=True)]
    if suppress is None:
        return torch.cat([torch.cat(pixels) / picture, embeddings], 1), torch.cat(scores)
    everywhere = _cut(cxcywh_to_xyxy(pixels[-1])[:, None], sides[:-1], picture, ROOM).any(2).all(1)
    scores[-1] = scores[-1] * everywhere[:, None]
    kept = torch.cat([suppress(boxes / picture, score) for boxes, score in zip(pixels, scores, strict=True)])
    tile = torch.cat([boxes.new_full((len(boxes),), at, dtype=torch.long) for at, boxes in enumerate(pixels)])
    some = (kept > 0).any(1)
    boxes, score, tile, embeddings = torch.cat(pixels)[some], kept[some], tile[some], embeddings[some]
    xyxy = cxcywh_to_xyxy(boxes)
    beyond = _cut(xyxy, sides[tile], picture)
    cut = beyond.any(1)
    score[~cut] = suppress(boxes[~cut] / picture, score[~cut])

    first, second = _same(torch.where(beyond, torch.inf * OUTWARD.to(device), xyxy), cut, score, sides, tile)
    whole = ~cut[second]
    there = score[second[whole]]
    same = torch.zeros_like(score).scatter_reduce(0, first[whole, None].expand(there.shape), there, "amax")
    score[(same >= LEAST * score) | (same.amax(1, keepdim=True) >= score)] = 0
    merged, merged_score, best = _unions(first[~whole], second[~whole], xyxy, score)
    boxes, score = torch.cat([boxes, xyxy_to_cxcywh(merged)]) / picture, torch.cat([score, merged_score])
    return torch.cat([boxes, torch.cat([embeddings, embeddings[best]])], 1), suppress(boxes, score)


def _cut(boxes: Tensor, tiles: Tensor, picture: Tensor, edge: float = EDGE) -> Tensor:
    """(..., 4) at which of their sides inner edges of tiles (..., 4) cut boxes (..., 4) xyxy, or come nearer than
    ``edge`` of their width or height."""
    outward = OUTWARD.to(boxes.device)
    size = torch.cat([boxes[..., 2:] - boxes[..., :2]] * 2, -1)
    inner = torch.cat([tiles[..., :2] > 0, tiles[..., 2:] < picture[2:]], -1)
    return inner & ((tiles - boxes) * outward <= edge * size)


def _same(reach: Tensor, cut: Tensor, scores: Tensor, sides: Tensor, tile: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (P,), (P,) of a cut box and another tile's box that agree where both tiles look.

    Args:
        reach: (B, 4) boxes xyxy, infinite where they are cut.
        cut: (B,) which are.
        scores: (B, C); a box without any takes no part.
        sides: (T, 4) the tiles; tile: (B,) that of each box.
    """
    alive = (scores > 0).any(1)
    cuts, every = (cut & alive).nonzero()[:, 0], alive.nonzero()[:, 0]
    slack = SLACK * (sides[:, 2:] - sides[:, :2]).amin(0)
    pairs = [(cuts[:0], cuts[:0])]
    for block in cuts.split(max(1, CHUNK // max(1, len(every)))):
        a, b = reach[block][:, None], reach[every]                                  # (K, 1, 4), (N, 4)
        a_view, b_view = sides[tile[block]][:, None], sides[tile[every]]
        low = torch.maximum(a_view[..., :2], b_view[..., :2]) - slack               # (K, N, 2)
        high = torch.minimum(a_view[..., 2:], b_view[..., 2:]) + slack
        a_low, a_high = torch.maximum(a[..., :2], low), torch.minimum(a[..., 2:], high)
        b_low, b_high = torch.maximum(b[..., :2], low), torch.minimum(b[..., 2:], high)
        shared = _area(torch.maximum(a_low, b_low), torch.minimum(a_high, b_high))
        union = _area(a_low, a_high) + _area(b_low, b_high) - shared
        i, j = ((shared > AGREE * union) & (tile[block][:, None] != tile[every])).nonzero().unbind(1)
        pairs.append((block[i], every[j]))
    first, second = zip(*pairs, strict=True)
    return torch.cat(first), torch.cat(second)


def _area(low: Tensor, high: Tensor) -> Tensor:
    """(...) of boxes between corners (..., 2); 0 where there is none."""
    return (high - low).clamp(min=0).prod(-1)


def _unions(first: Tensor, second: Tensor, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Merge boxes (B, 4) xyxy that pairs (P,), (P,) connect, in each class where both have a score.

    Returns:
        (U, 4) boxes around those of each group, (U, C) the highest score in its class, and (U,) the box that has it;
        ``scores`` (B, C) of the group become 0 there, in place.
    """
    pair, label = ((scores[first] > 0) & (scores[second] > 0)).nonzero().unbind(1)
    classes, flat = scores.shape[1], scores.view(-1)
    nodes, ends = torch.stack([first[pair], second[pair]]).mul(classes).add(label).unique(return_inverse=True)
    group = torch.arange(len(nodes), device=nodes.device)
    while True:                         # each takes the least number among its neighbours, until nothing changes
        before = group.clone()
        group.scatter_reduce_(0, ends[0], before[ends[1]], "amin").scatter_reduce_(0, ends[1], before[ends[0]], "amin")
        if torch.equal(group, before):
            break
    least, group = group.unique(return_inverse=True)
    outward = OUTWARD.to(boxes.device)
    corners = boxes.new_full((len(least), 4), -torch.inf).scatter_reduce(
        0, group[:, None].expand(-1, 4), boxes[nodes // classes] * outward, "amax") * outward
    highest = flat.new_zeros(len(least)).scatter_reduce(0, group, flat[nodes], "amax")
    best, is_best = torch.zeros_like(least), flat[nodes] == highest[group]
    best[group[is_best]] = nodes[is_best] // classes
    merged = scores.new_zeros(len(least), classes)
    merged[torch.arange(len(least), device=nodes.device), nodes[least] % classes] = highest
    flat[nodes] = 0
    return corners, merged, best
