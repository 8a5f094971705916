"""Post-processing: head outputs to boxes, corrected for letterboxing and suppressed."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from darknet_py.data.image import undo_letterbox
from darknet_py.errors import CfgError
from darknet_py.model.network import Network
from darknet_py.ops.nms import nms


def find_boxes(network: Network, outputs: Sequence[Tensor], image_sizes: Sequence[tuple[int, ...]], thresh: float,
               nms_thresh: float, hier_thresh: float = .5, letterbox: bool = False) -> list[tuple[Tensor, Tensor]]:
    """Boxes of a batch from what the network's heads gave.

    Args:
        outputs: as ``network(x)`` returns them.
        image_sizes: (height, width) of each image, in pixels.
        thresh: scores must be above it.
        nms_thresh: overlap above which the less sure box goes; 0 keeps all.

    Returns:
        For each image (B, 4) boxes, center x, center y, width, height relative to the image, and (B, classes) scores,
        0 where there is none; on the CPU, float32.

    Darknet: get_network_boxes, do_nms_sort, diounms_sort. The last [yolo], [Gaussian_yolo] or [region] says how to
    suppress (nms_kind, beta_nms). Boxes of [detection] are not corrected for letterboxing, as in C.
    """
    return [(box.cpu(), suppress(network, box, score, nms_thresh).cpu()) for box, score in
            propose(network, outputs, image_sizes, thresh, hier_thresh, letterbox)]


def propose(network: Network, outputs: Sequence[Tensor], image_sizes: Sequence[tuple[int, ...]], thresh: float,
            hier_thresh: float = .5, letterbox: bool = False, objectness: bool = False
            ) -> Iterator[tuple[Tensor, Tensor]]:
    """``find_boxes`` without suppression, and on the outputs' device. Darknet: get_network_boxes.

    objectness: the scores are (B, 1), the boxes' objectness, whatever their classes.
    """
    _, net_height, net_width = network.input_shape
    heads = [(layer, output.float()) for layer, output in
             zip((network.layers[head] for head in network.heads), outputs, strict=True) if layer.detects]
    proposals = [(layer, layer.decode(output, net_width, net_height, thresh, hier_thresh)) for layer, output in heads]
    classes = count_classes(network)
    for index, (height, width) in enumerate(image_sizes):
        boxes, scores = [], []
        for layer, (box, certain, score, image) in proposals:
            if objectness:
                score = torch.where(certain > thresh, certain, 0)[:, None]
            here = (image == index) & (score > 0).any(1)
            correct = letterbox and layer.kind != "detection"
            boxes.append(undo_letterbox(box[here], width, height, net_width, net_height) if correct else box[here])
            scores.append(score[here] if objectness else
                          torch.nn.functional.pad(score[here], (0, classes - layer.classes)))
        yield torch.cat(boxes), torch.cat(scores)


def count_classes(network: Network) -> int:
    """The most that a detection head has.

    Raises:
        CfgError: the network has no such head.
    """
    classes = [layer.classes for layer in network.layers if layer.detects]
    if not classes:
        raise CfgError("has no [yolo], [Gaussian_yolo], [region] or [detection] layer, so it detects nothing",
                       network.cfg.path)
    return max(classes)


def suppress(network: Network, boxes: Tensor, scores: Tensor, nms_thresh: float, kind: str | None = None) -> Tensor:
    """Non-maximum suppression of (B, 4) boxes, (B, C) scores, of a kind that ``nms`` knows, or None: as the last of the
    network's heads to say so wants it."""
    if not nms_thresh:
        return scores
    if kind is not None:
        return nms(boxes, scores, nms_thresh, kind)
    options = next((layer.options for layer in reversed(network.layers) if hasattr(layer.options, "nms_kind")), None)
    kind, beta = ("default", .6) if options is None else (options.nms_kind, options.beta_nms)
    return nms(boxes, scores, nms_thresh, kind, beta)
