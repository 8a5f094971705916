"""Post-processing: head outputs to boxes, corrected for letterboxing and suppressed."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from darknet_py.data.image import undo_letterbox
from darknet_py.errors import CfgError, Reason
from darknet_py.inference.decoded import heads_of
from darknet_py.inference.tiles import Tiling, merge_tiles
from darknet_py.layers import DetectionHead
from darknet_py.layers.base import Layer, Shape
from darknet_py.layers.head import Candidates
from darknet_py.model.network import Network
from darknet_py.ops.nms import nms

FEW = 1 << 19           # scores of a batch that are suppressed on the CPU


class Suppression(Protocol):
    """Non-maximum suppression of (B, 4) boxes and (B, C) scores of a picture of ``size`` (height, width): gives (B, C)
    scores, 0 where they are suppressed."""

    def __call__(self, boxes: Tensor, scores: Tensor, size: tuple[int, ...]) -> Tensor:
        """Suppress."""


class PostProcessor:
    """Decodes the outputs of a network's detection heads to boxes, and suppresses. It needs no weights.

    Args:
        heads: the layers whose outputs there will be.
        shape: of an input image.

    Attributes:
        classes: the most that a detection head has.
        embedding_size: the most numbers that an embedding of a box has, 0 where no layer of embeddings is among them.
    """

    def __init__(self, heads: Sequence[Layer], shape: Shape):
        self.heads, self.shape = heads, shape
        self.classes = max((head.classes for head in heads if isinstance(head, DetectionHead)), default=0)
        indices = {layer.place.index for layer in heads}
        self.embedding_size = max((head.embedding_size for head in heads if isinstance(head, DetectionHead)
                                   and head.embedding_layer in indices), default=0)

    @classmethod
    def of(cls, network: Network, layers: Sequence[int] | None = None) -> PostProcessor:
        """That of a network.

        Args:
            layers: indices of those whose outputs there will be; None: the network's heads.

        Raises:
            CfgError: the network has no detection head.
        """
        made = cls(heads_of(network, layers), network.input_shape)
        if not made.classes:
            raise CfgError("has no [yolo], [Gaussian_yolo], [region] or [detection] layer, so it detects nothing",
                           Reason.WRONG_TASK, network.cfg.path)
        return made

    def find_boxes(self, outputs: Sequence[Tensor], image_sizes: Sequence[tuple[int, ...]], thresh: float,
                   nms_thresh: float, hier_thresh: float = .5, letterbox: bool = False,
                   max_candidates: int | None = None, tiling: Tiling | None = None) -> list[tuple[Tensor, Tensor]]:
        """Boxes of a batch.

        Args:
            outputs: of the heads, as a backend gives them.
            image_sizes: (height, width) of each image, in pixels.
            thresh: scores must be above it.
            nms_thresh: overlap above which the less confident box is suppressed; 0 keeps all.
            max_candidates: the most boxes of a class and image that suppression looks at, the most confident ones; a
                bound on its time, which C has not. None: all.
            tiling: see ``find_in_pictures``.

        Returns:
            For each image (B, 4) boxes, center x, center y, width, height relative to the image, and (B, classes)
            scores, 0 where there is none; on the CPU, float32, and after suppression in C's order. Behind the four
            numbers of a box come the ``embedding_size`` of its embedding, zeros where its head has none.

        Darknet: get_network_boxes, do_nms_sort, diounms_sort. The last [yolo], [Gaussian_yolo] or [region] says how to
        suppress (nms_kind, beta_nms). Boxes of [detection] are not corrected for letterboxing, as in C.
        """
        pictures = self.find_in_pictures(
            outputs, image_sizes, thresh, None if not nms_thresh else lambda boxes, scores, size: self.suppress(
                boxes, scores, nms_thresh), hier_thresh, letterbox, max_candidates=max_candidates, tiling=tiling)
        found = []
        for box, score, kept in pictures:
            order = sorted_order(score.cpu()) if nms_thresh else slice(None)
            found.append((box.cpu()[order], kept.cpu()[order]))
        return found

    def find_in_pictures(self, outputs: Sequence[Tensor], image_sizes: Sequence[tuple[int, ...]], thresh: float,
                         suppress: Suppression | None, hier_thresh: float = .5,
                         letterbox: bool = False, objectness: bool = False, max_candidates: int | None = None,
                         tiling: Tiling | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Boxes of a batch of pictures, each of one input of the network, or of tiles whose boxes are merged.

        Args:
            suppress: None keeps all.
            objectness: see ``propose``.
            tiling: with which ``preprocess.as_inputs`` cut the pictures; None: they were not.

        Returns:
            For each picture (B, 4) boxes relative to it, (B, C) scores that order them, and scores after suppression.
        """
        views = [np.array([[0, 0, size[1], size[0]]]) if tiling is None else tiling.cut(*size[:2])
                 for size in image_sizes]
        proposals = self.propose(outputs, [(bottom - top, right - left) for tiles in views
                                           for left, top, right, bottom in tiles.tolist()],
                                 thresh, hier_thresh, letterbox, objectness)
        for size, tiles in zip(image_sizes, views, strict=True):
            parts = [(box, most_confident(score, max_candidates)) for box, score in islice(proposals, len(tiles))]
            settle = None if suppress is None else partial(suppress, size=size)
            if tiling is not None:
                boxes, scores = merge_tiles(parts, tiles, settle)
                yield boxes, scores, scores
            else:
                for boxes, scores in parts:
                    yield boxes, scores, scores if settle is None else settle(boxes[:, :4], scores)

    def propose(self, outputs: Sequence[Tensor], image_sizes: Sequence[tuple[int, ...]], thresh: float,
                hier_thresh: float = .5, letterbox: bool = False, objectness: bool = False
                ) -> Iterator[tuple[Tensor, Tensor]]:
        """``find_boxes`` without suppression, and on the outputs' device or, where there are few, on the CPU, which
        needs fewer steps for each image than a GPU. Darknet: get_network_boxes.

        objectness: the scores are (B, 1), the boxes' objectness, whatever their classes.

        Raises:
            CfgError: a head has no objectness.
        """
        for head in self.heads:
            if objectness and isinstance(head, DetectionHead) and not head.has_objectness:
                raise CfgError("gives scores without objectness (-outputs boxes), which recall needs",
                               Reason.WRONG_TASK, head.place.cfg.path)
        _, net_height, net_width = self.shape
        by_index = {head.place.index: output.float() for head, output in zip(self.heads, outputs, strict=True)}
        proposals = [(head, head.decode(by_index[head.place.index], net_width, net_height, thresh, hier_thresh))
                     for head in self.heads if isinstance(head, DetectionHead)]
        if self.embedding_size:
            proposals = [(head, found._replace(boxes=torch.cat([found.boxes, self._embeddings(
                head, by_index, found.boxes, thresh)], 1))) for head, found in proposals]
        if sum(found.scores.numel() for _, found in proposals) <= FEW:
            proposals = [(head, Candidates(*(part.cpu() for part in found))) for head, found in proposals]
        for index, (height, width) in enumerate(image_sizes):
            boxes, scores = [], []
            for head, (box, certain, score, image) in proposals:
                if objectness:
                    score = torch.where(certain > thresh, certain, 0)[:, None]
                here = (image == index) & (score > 0).any(1)
                place, embedding = box[here].split((4, self.embedding_size), 1)
                if letterbox and head.letterboxed:
                    place = undo_letterbox(place, width, height, net_width, net_height)
                boxes.append(torch.cat([place, embedding], 1) if self.embedding_size else place)
                scores.append(score[here] if objectness else
                              torch.nn.functional.pad(score[here], (0, self.classes - head.classes)))
            yield torch.cat(boxes), torch.cat(scores)

    def _embeddings(self, head: DetectionHead, outputs: Mapping[int, Tensor], boxes: Tensor, thresh: float) -> Tensor:
        """(K, ``embedding_size``) of the boxes (K, 4) of a head."""
        if head.embedding_layer is None or head.embedding_layer not in outputs:
            return boxes.new_zeros(len(boxes), self.embedding_size)
        found = head.embeddings(outputs[head.place.index], outputs[head.embedding_layer], thresh)
        return torch.nn.functional.pad(found, (0, self.embedding_size - head.embedding_size))

    def suppress(self, boxes: Tensor, scores: Tensor, nms_thresh: float, kind: str | None = None) -> Tensor:
        """Non-maximum suppression of (B, 4) boxes, (B, C) scores.

        Args:
            kind: one of ``NMS_KINDS``; None: that of the last head with nms_kind=.

        Returns:
            (B, C) scores, 0 where they are suppressed.
        """
        if not nms_thresh:
            return scores
        if kind is not None:
            return nms(boxes, scores, nms_thresh, kind)
        return nms(boxes, scores, nms_thresh, *self.suppression)

    @property
    def suppression(self) -> tuple[str, float]:
        """One of ``NMS_KINDS``, and beta_nms: of the last head with nms_kind=."""
        options = next((head.options for head in reversed(self.heads) if hasattr(head.options, "nms_kind")), None)
        return ("default", .6) if options is None else (options.nms_kind, options.beta_nms)


def most_confident(scores: Tensor, count: int | None) -> Tensor:
    """Scores (B, C), 0 but for the ``count`` highest of each class; None: all."""
    if count is None or len(scores) <= count:
        return scores
    first = scores.argsort(dim=0, descending=True, stable=True)[:count]
    return torch.zeros_like(scores).scatter(0, first, scores.gather(0, first))


def sorted_order(scores: Tensor) -> Tensor:
    """(B,) the order in which C's suppression leaves boxes: sorted by one class after the other.

    Args:
        scores: (B, C) before suppression, on the CPU.

    Darknet: do_nms_sort, nms_comparator_v3.
    """
    keys = scores[:, (scores > 0).any(0)]
    return torch.from_numpy(np.lexsort((-keys).T.numpy())) if keys.shape[1] else torch.arange(len(scores))
