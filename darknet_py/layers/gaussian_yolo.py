"""[Gaussian_yolo], the head of Gaussian YOLOv3, which predicts mean and deviation of each coordinate."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.layers.base import Place, Shape, layer
from darknet_py.layers.head import Candidates
from darknet_py.layers.yolo import AnchorHead, AnchorOptions, class_scores


@dataclass(frozen=True)
class GaussianYoloOptions(AnchorOptions):
    # what x and y mean: the box's centre or a corner
    yolo_point: str = option("center", choices=("center", "left_top", "right_bottom"))
    uc_normalizer: float = 1  # in training, weight of the uncertainties' gradient


@layer("Gaussian_yolo", options=GaussianYoloOptions)
class GaussianYolo(AnchorHead):
    """Means and deviations of x, y, w, h in turn, objectness, classes; all but the means of w and h are logistic.

    Darknet: parse_gaussian_yolo, forward_gaussian_yolo_layer_gpu, get_gaussian_yolo_detections. Scores are multiplied
    by one minus the mean of the four deviations.
    """

    entries = 9

    def __init__(self, options: GaussianYoloOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.to_center = {"center": 0, "left_top": .5, "right_bottom": -.5}[options.yolo_point]

    def forward(self, x: Tensor) -> Tensor:
        y = self.split(x)
        x0, dx, y0, dy, w, dw, h, rest = y.split((1, 1, 1, 1, 1, 1, 1, y.shape[2] - 7), 2)
        return torch.cat([self.scaled(x0.sigmoid()), dx.sigmoid(), self.scaled(y0.sigmoid()), dy.sigmoid(),
                          w, dw.sigmoid(), h, rest.sigmoid()], 2).flatten(1, 2)

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"yolo_point": self.options.yolo_point}

    def onnx(self, graph: Any, *xs: str) -> str:
        parts = []
        for values in graph.split(xs[0], 1, [self.entries + self.classes] * self.count):
            x, dx, y, dy, w, dw, h, rest = graph.split(values, 1, [1] * 7 + [2 + self.classes])
            x, y = (self.onnx_scaled(graph, graph("Sigmoid", one)) for one in (x, y))
            dx, dy, dw, rest = (graph("Sigmoid", one) for one in (dx, dy, dw, rest))
            parts += [x, dx, y, dy, w, dw, h, rest]
        return graph("Concat", *parts, axis=1)

    def onnx_entries(self, graph: Any, values: str) -> tuple[str, str, str, str]:
        x, dx, y, dy, w, dw, h, dh, objectness, classes = graph.split(values, 1, [1] * 9 + [self.classes])
        doubt = graph("Div", graph("Add", graph("Add", dx, dy), graph("Add", dw, dh)), 4.)
        return (graph("Concat", x, y, axis=1), graph("Exp", graph("Concat", w, h, axis=1)),
                graph("Mul", objectness, graph("Sub", 1., doubt)), classes)

    def decode(self, output: Tensor, width: int, height: int, threshold: float, tree_threshold: float) -> Candidates:
        values, (image, _, row, column), anchors = self.candidates(output, threshold)
        wh = values[:, 4:8:2].exp() * anchors / values.new_tensor([width, height])
        xy = ((values[:, 0:4:2] + torch.stack([column, row], 1))
              / values.new_tensor([self.shape.width, self.shape.height]))
        xy = xy + wh * self.to_center
        objectness, certainty = values[:, 8], 1 - values[:, 1:8:2].mean(1)
        scores = class_scores(objectness * certainty, values[:, 9:], threshold)
        return Candidates(torch.cat([xy, wh], 1), objectness, scores, image)
