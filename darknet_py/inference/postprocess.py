"""Post-processing: head outputs to boxes, corrected for letterboxing and suppressed."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from darknet_py.data.image import undo_letterbox
from darknet_py.errors import CfgError, Reason
from darknet_py.layers import DetectionHead
from darknet_py.layers.base import Layer, Shape
from darknet_py.layers.head import Candidates
from darknet_py.model.network import Network
from darknet_py.ops.nms import nms

FEW = 1 << 19           # scores of a batch that are suppressed on the CPU


class PostProcessor:
    """Decodes the outputs of a network's detection heads to boxes, and suppresses. It needs no weights.

    Args:
        heads: the layers whose outputs there will be.
        shape: of an input image.

    Attributes:
        classes: the most that a detection head has.
    """

    def __init__(self, heads: Sequence[Layer], shape: Shape):
        self.heads, self.shape = heads, shape
        self.classes = max((head.classes for head in heads if isinstance(head, DetectionHead)), default=0)

    @classmethod
    def of(cls, network: Network) -> PostProcessor:
        """That of a network.

        Raises:
            CfgError: the network has no detection head.
        """
        made = cls([network.layers[head] for head in network.heads], network.input_shape)
        if not made.classes:
            raise CfgError("has no [yolo], [Gaussian_yolo], [region] or [detection] layer, so it detects nothing",
                           Reason.WRONG_TASK, network.cfg.path)
        return made

    def find_boxes(self, outputs: Sequence[Tensor], image_sizes: Sequence[tuple[int, ...]], thresh: float,
                   nms_thresh: float, hier_thresh: float = .5, letterbox: bool = False,
                   max_candidates: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """Boxes of a batch.

        Args:
            outputs: of the heads, as a backend gives them.
            image_sizes: (height, width) of each image, in pixels.
            thresh: scores must be above it.
            nms_thresh: overlap above which the less confident box is suppressed; 0 keeps all.
            max_candidates: the most boxes of a class and image that suppression looks at, the most confident ones; a
                bound on its time, which C has not. None: all.

        Returns:
            For each image (B, 4) boxes, center x, center y, width, height relative to the image, and (B, classes)
            scores, 0 where there is none; on the CPU, float32, and after suppression in C's order.

        Darknet: get_network_boxes, do_nms_sort, diounms_sort. The last [yolo], [Gaussian_yolo] or [region] says how to
        suppress (nms_kind, beta_nms). Boxes of [detection] are not corrected for letterboxing, as in C.
        """
        found = []
        for box, score in self.propose(outputs, image_sizes, thresh, hier_thresh, letterbox):
            if max_candidates is not None and len(score) > max_candidates:
                first = score.argsort(dim=0, descending=True, stable=True)[:max_candidates]
                score = torch.zeros_like(score).scatter(0, first, score.gather(0, first))
            kept = self.suppress(box, score, nms_thresh).cpu()
            order = sorted_order(score.cpu()) if nms_thresh else slice(None)
            found.append((box.cpu()[order], kept[order]))
        return found

    def propose(self, outputs: Sequence[Tensor], image_sizes: Sequence[tuple[int, ...]], thresh: float,
                hier_thresh: float = .5, letterbox: bool = False, objectness: bool = False
                ) -> Iterator[tuple[Tensor, Tensor]]:
        """``find_boxes`` without suppression, and on the outputs' device or, where there are few, on the CPU, which
        needs fewer steps for each image than a GPU. Darknet: get_network_boxes.

        objectness: the scores are (B, 1), the boxes' objectness, whatever their classes.
        """
        _, net_height, net_width = self.shape
        proposals = [(head, head.decode(output.float(), net_width, net_height, thresh, hier_thresh))
                     for head, output in zip(self.heads, outputs, strict=True) if isinstance(head, DetectionHead)]
        if sum(found.scores.numel() for _, found in proposals) <= FEW:
            proposals = [(head, Candidates(*(part.cpu() for part in found))) for head, found in proposals]
        for index, (height, width) in enumerate(image_sizes):
            boxes, scores = [], []
            for head, (box, certain, score, image) in proposals:
                if objectness:
                    score = torch.where(certain > thresh, certain, 0)[:, None]
                here = (image == index) & (score > 0).any(1)
                boxes.append(undo_letterbox(box[here], width, height, net_width, net_height)
                             if letterbox and head.letterboxed else box[here])
                scores.append(score[here] if objectness else
                              torch.nn.functional.pad(score[here], (0, self.classes - head.classes)))
            yield torch.cat(boxes), torch.cat(scores)

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


def sorted_order(scores: Tensor) -> Tensor:
    """(B,) the order in which C's suppression leaves boxes: sorted by one class after the other.

    Args:
        scores: (B, C) before suppression, on the CPU.

    Darknet: do_nms_sort, nms_comparator_v3.
    """
    keys = scores[:, (scores > 0).any(0)]
    return torch.from_numpy(np.lexsort((-keys).T.numpy())) if keys.shape[1] else torch.arange(len(scores))
