"""[detection], the head of YOLOv1."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.base import LayerOptions, Place, Shape, layer
from darknet_py.layers.head import Candidates, DetectionHead
from darknet_py.layers.yolo import class_scores


@dataclass(frozen=True)
class DetectionOptions(LayerOptions):
    classes: int = option(1, least=1)  # number of classes
    coords: int = option(1, least=4)   # numbers of a box; C: 1, and reads 4 of them
    num: int = option(1, least=1)      # boxes of a cell
    side: int = option(7, least=1)     # cells along each side of the picture
    sqrt: int = 0                      # 1: the outputs are roots of the sizes

    # for training alone
    softmax: int = 0           # 1: class probabilities by softmax
    rescore: int = 0           # 1: the target of a box's objectness is its overlap, not 1
    max: int = 200             # ground truths of an image, at most
    coord_scale: float = 1     # weight of the box's error
    forced: int = 0            # 1: small objects go to the second box, others to the first
    object_scale: float = 1    # weight of the objectness of boxes with an object
    noobject_scale: float = 1  # weight of that of boxes without one
    class_scale: float = 1     # weight of the classes' error
    jitter: float = .2         # how far each edge of a picture moves, in or out, as a share of it
    resize: float = 1          # zoom: below 1 out alone, above 1 in or out by up to this
    random: float = 0  # 1: a random box takes the object, for the first 64,000 images; and sizes change as with [yolo]
    reorg: int = 0             # read by C, and used by neither


@layer("detection", options=DetectionOptions)
class Detection(DetectionHead):
    """One dense vector: class probabilities of all cells, then the objectness of all boxes, then their coordinates.

    Darknet: make_detection_layer, forward_detection_layer_gpu, get_detection_detections. C decodes to pixels and then
    takes them for parts of the image; here boxes are relative. Those of a letterboxed picture stay relative to the
    network's input, as in C.
    """

    letterboxed = anchored = False
    counted = "output"

    def __init__(self, options: DetectionOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o, self.shape = options, shapes[0]
        self.classes, self.channels_per_class = o.classes, o.side ** 2
        expected = self.needed_filters(o)
        if self.shape.size != expected:
            raise place.error(f"needs {expected} values from the layer before it ({o.side} x {o.side} cells x (("
                              f"{o.coords} coords + 1) x {o.num} boxes + {o.classes} classes)), got {self.shape.size}",
                              reason=Reason.SHAPE_MISMATCH)

    @classmethod
    def needed_filters(cls, options: DetectionOptions) -> int:
        return options.side ** 2 * ((1 + options.coords) * options.num + options.classes)

    def forward(self, x: Tensor) -> Tensor:
        return x

    def facts(self) -> dict[str, Any]:
        return {"side": self.options.side, "num": self.options.num, "coords": self.options.coords,
                "sqrt": self.options.sqrt}

    def onnx(self, graph: Any, *xs: str) -> str:
        return xs[0]

    def onnx_boxes(self, graph: Any, output: str) -> tuple[str, str]:
        o, cells = self.options, self.options.side ** 2
        classes, objectness, boxes = graph.split(
            graph("Flatten", output), 1, [cells * o.classes, cells * o.num, cells * o.num * o.coords])
        boxes = graph("Transpose", graph.reshape(graph.slice(boxes, 1, 0, cells * o.num * 4), cells, o.num, 4),
                      perm=[0, 3, 1, 2])                                                            # (N, 4, cells, num)
        place = torch.arange(cells)
        corner = torch.stack([place % o.side, place // o.side])[None, :, :, None]
        xy, wh = graph.split(boxes, 1, [2, 2])
        xy = graph("Div", graph("Add", xy, graph.constant(corner.float())), float(o.side))
        classes = graph("Transpose", graph.reshape(classes, cells, 1, o.classes), perm=[0, 3, 1, 2])
        scores = graph("Mul", classes, graph.reshape(objectness, 1, cells, o.num))                  # (N, C, cells, num)
        return graph.corners(xy, graph("Mul", wh, wh) if o.sqrt else wh), graph.reshape(scores, o.classes, -1)

    def decode(self, output: Tensor, width: int, height: int, threshold: float, tree_threshold: float) -> Candidates:
        o, cells, n = self.options, self.options.side ** 2, len(output)
        classes, objectness, boxes = output.flatten(1).split(
            (cells * o.classes, cells * o.num, cells * o.num * o.coords), 1)
        place = torch.arange(cells, device=output.device)
        corner = torch.stack([place % o.side, place // o.side], 1)[:, None]     # (cells, 1, 2)
        boxes = boxes[:, :cells * o.num * 4].reshape(n, cells, o.num, -1)
        xy = (boxes[..., :2] + corner) / o.side
        wh = boxes[..., 2:4] ** 2 if o.sqrt else boxes[..., 2:4]
        objectness = objectness.reshape(-1)
        classes = classes.reshape(n, cells, 1, o.classes).expand(-1, -1, o.num, -1).reshape(-1, o.classes)
        return Candidates(torch.cat([xy, wh], 3).reshape(-1, 4), objectness,
                          class_scores(objectness, classes, threshold),
                          torch.arange(n, device=output.device).repeat_interleave(cells * o.num))
