"""The boxes and scores of all heads in one tensor, as a model gives them that decodes its heads itself."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darknet_py.layers import DetectionHead
from darknet_py.layers.base import Layer, Shape
from darknet_py.layers.head import Candidates
from darknet_py.model.network import Network
from darknet_py.ops.boxes import xyxy_to_cxcywh


class DecodedBoxes(DetectionHead):
    """In the place of a network's heads: (N, K, 4 + classes), left, top, right, bottom relative to the network's input,
    and scores, of all cells and anchors. Suppression is as the heads say.

    Objectness is lost in it; the highest score of a box, which is not above it, stands in for it as a threshold.
    """

    kind = "boxes"
    has_objectness = False

    def __init__(self, heads: Sequence[DetectionHead], shape: Shape):
        last = next((head for head in reversed(heads) if hasattr(head.options, "nms_kind")), heads[-1])
        super().__init__(last.options, [shape], last.place)
        self.classes, self.letterboxed = last.classes, last.letterboxed
        self.count = sum(len(head.decode(torch.zeros(1, *head.onnx_shape(False)), shape.width, shape.height,
                                         -torch.inf, 0).boxes) for head in heads)

    def onnx_shape(self, resizable: bool) -> Sequence[int | None]:
        return None if resizable else self.count, 4 + self.classes

    def decode(self, output: Tensor, width: int, height: int, threshold: float, tree_threshold: float) -> Candidates:
        image, place = (output[..., 4:].amax(2) > threshold).nonzero(as_tuple=True)
        boxes, scores = output[image, place].split((4, self.classes), 1)
        return Candidates(xyxy_to_cxcywh(boxes), scores.amax(1), torch.where(scores > threshold, scores, 0), image)


def heads_of(network: Network, layers: Sequence[int] | None = None) -> list[Layer]:
    """The layers, real or ``DecodedBoxes``, whose outputs a backend of the network gives.

    Args:
        layers: indices; None: the network's heads.
    """
    if layers is None and (stored := network.cfg.stored) is not None and stored.form == "boxes":
        return [DecodedBoxes(network.detection_heads, network.input_shape)]
    return [network.layers[index] for index in (network.heads if layers is None else layers)]
