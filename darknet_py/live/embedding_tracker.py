"""Tracking by embeddings: boxes of a frame matched to those of the frames before by cosine similarity and overlap."""
from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from darknet_py.errors import DarknetError
from darknet_py.ops.boxes import iou, xyxy_to_cxcywh

ROUNDING = 1e-3                 # of similarities, at most
MOST_HISTORY = 1000             # frames, whose boxes and embeddings are all kept


@dataclass(frozen=True)
class EmbeddingOptions:
    """How boxes are matched; the names and defaults are those of [yolo].

    sim_thresh: similarity that a match must exceed.
    track_history_size: frames in which an object is looked for.
    dets_for_track: matches that an object must exceed to get an id; see ``EmbeddingTracker`` for where counting begins.
    dets_for_show: matches that an object must reach to be shown.
    track_ciou_norm: share of the overlap in the similarity, the rest is the embeddings'.
    """

    sim_thresh: float = .8
    track_history_size: int = 5
    dets_for_track: int = 1
    dets_for_show: int = 1
    track_ciou_norm: float = .01

    def __post_init__(self):
        for name in ("sim_thresh", "track_ciou_norm"):
            if not math.isfinite(getattr(self, name)):
                raise DarknetError(f"{name} needs a number, found {getattr(self, name)}")
        if not 0 <= self.track_history_size <= MOST_HISTORY:
            raise DarknetError(f"track_history_size needs a number of frames from 0 to {MOST_HISTORY}, found "
                               f"{self.track_history_size}")


class Tracked(NamedTuple):
    """Boxes of a frame with what tracking knows of them: ids (K,), and counts (K,) of matches."""

    boxes: np.ndarray
    embeddings: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    counts: np.ndarray


class EmbeddingTracker:
    """Gives boxes the ids of earlier ones whose embeddings are similar.

    Pairs of a box and an earlier one of its class are taken by falling similarity of their embeddings. One matches if
    the similarity, mixed with the overlap, exceeds both sim_thresh and that of the box's match so far, which it then
    replaces. An earlier box, and all of a track, serve one match.

    Args:
        classes: of the network. Matches are counted from ``classes`` - 1 on, since C counts in a field that its
            suppression leaves at the number of the last class: with many classes dets_for_track and dets_for_show have
            no effect unless they exceed that.

    Darknet: set_track_id. What it calls CIoU is the IoU. C fills the embeddings on a GPU alone; without one they are 0
    and only the overlap counts. Among equal similarities, which C leaves in any order, the latest box comes first.
    """

    def __init__(self, options: EmbeddingOptions, classes: int):
        self.options, self.start = options, classes - 1
        self._history: deque[Tracked] = deque(maxlen=options.track_history_size)
        self._next = 1

    def update(self, boxes: np.ndarray, embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ids of a frame's boxes.

        Args:
            boxes: (K, 4) left, top, right, bottom, in C's order.
            embeddings: (K, E).
            labels: (K,) their likeliest classes.

        Returns:
            (K,) int64 ids from 1 on, 0 for a box that has not been matched often enough; (K,) bool whether it is shown.
        """
        ids, counts = np.zeros(len(boxes), np.int64), np.full(len(boxes), self.start)
        best = np.zeros(len(boxes))
        if self._history:
            old = Tracked(*map(np.concatenate, zip(*self._history, strict=True)))
            taken: set[int] = set()
            used: set[int] = set()
            for new, earlier, similarity in self._pairs(old, boxes, embeddings, labels):
                track = int(old.ids[earlier])
                if best[new] < similarity and earlier not in taken and track not in used:
                    best[new], ids[new], counts[new] = similarity, track, old.counts[earlier] + 1
                    taken.add(earlier)
                    used |= {track} - {0}
        fresh = (ids == 0) & (counts > self.options.dets_for_track)
        ids[fresh] = self._next + np.arange(fresh.sum())
        self._next += int(fresh.sum())
        self._history.append(Tracked(boxes, embeddings, labels, ids, counts))
        return ids, counts >= self.options.dets_for_show

    def _pairs(self, old: Tracked, boxes: np.ndarray, embeddings: np.ndarray, labels: np.ndarray
               ) -> list[tuple[int, int, float]]:
        """(new, old, mixed similarity) of the pairs that may match, by falling similarity of their embeddings."""
        cosine = (_unit(old.embeddings) @ _unit(embeddings).T).astype(np.float32)           # (old, new)
        share, least = self.options.track_ciou_norm, self.options.sim_thresh
        similar, slack = cosine * (1 - share), ROUNDING * (1 + abs(share))
        # no overlap helps the other pairs over the threshold
        earlier, new = ((similar + max(0, share) > least - slack) & (old.labels[:, None] == labels)).nonzero()
        before, now = (xyxy_to_cxcywh(torch.from_numpy(one).double()) for one in (old.boxes, boxes))
        mixed = similar[earlier, new] + iou(before[earlier], now[new]).numpy() * share
        matches = (mixed > least).nonzero()[0]
        order = matches[np.lexsort((-earlier[matches], -cosine[earlier, new][matches]))]
        return list(zip(new[order].tolist(), earlier[order].tolist(), mixed[order].tolist(), strict=True))


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """(K, E) of length 1; zeros stay."""
    length = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    return np.divide(embeddings, length, out=np.zeros(embeddings.shape), where=length > 0)
