"""[region], the head of YOLOv2 and YOLO9000."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.base import LayerOptions, Place, Shape, check_filters, layer
from darknet_py.layers.class_tree import read_map, read_tree
from darknet_py.layers.head import Candidates, DetectionHead
from darknet_py.layers.yolo import class_scores, take_anchors


@dataclass(frozen=True)
class RegionOptions(LayerOptions):
    classes: int = option(20, least=1)  # number of classes
    num: int = option(1, least=1)       # anchors
    coords: int = option(4, least=4)    # numbers of a box
    anchors: tuple[float, ...] = ()     # width, height of each, in cells; C: .5
    softmax: int = 0                    # 1: class probabilities by softmax
    tree: str | None = None             # a file of classes; siblings share a softmax
    classfix: int = 0                   # -1: objectness below .5 counts as none; 1, 2: boxes near objects learn classes
    map: str | None = None              # a file of numbers: labels -> classes of the tree

    # for training alone
    max: int = 200             # ground truths of an image, at most
    focal_loss: int = 0        # 1: focal loss of the classes
    jitter: float = .2         # how far each edge of a picture moves, in or out, as a share of it
    resize: float = 1          # zoom: below 1 out alone, above 1 in or out by up to this
    rescore: int = 0           # 1: the target of a box's objectness is its overlap, not 1
    thresh: float = .5         # boxes that overlap an object by more are no negatives
    random: float = 0          # 1: sizes of the input change as with [yolo]
    coord_scale: float = 1     # weight of the box's error
    object_scale: float = 1    # weight of the objectness of boxes with an object
    noobject_scale: float = 1  # weight of that of boxes without one
    class_scale: float = 1     # weight of the classes' error
    bias_match: int = 0        # 1: an object goes to the anchor whose shape fits it; else to the box

    # read by C, and used by neither
    absolute: int = 0      # box coordinates relative to the picture
    log: int = 0           # sizes as logarithms
    sqrt: int = 0          # sizes as roots
    mask_scale: float = 1  # weight of further coordinates


@layer("region", options=RegionOptions)
class Region(DetectionHead):
    """Logistic objectness, softmax classes (down a tree with ``tree=``); x and y become logistic in ``decode``.

    Darknet: parse_region, forward_region_layer_gpu, get_region_boxes. ``l.output`` is flattened to (H * W * A, 5 + C),
    so ``forward`` gives (N, H, W, A * (5 + C)). A tree gives each box one class: the last one, in file order, whose own
    probability is above .5, with that probability as its score.
    """

    final = True

    def __init__(self, options: RegionOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o = options
        self.count = self.channels_per_class = o.num
        self.classes = o.classes
        check_filters(place, self.shape, f"{o.num} anchors x ({o.coords} + 1 + {o.classes} classes)",
                      self.needed_filters(o))
        self.anchors = take_anchors(o, range(o.num), place)
        self.tree = None if o.tree is None else read_tree(o.tree, place)
        if self.tree is not None and len(self.tree) != o.classes:
            raise place.error(f"tree={o.tree} has {len(self.tree)} classes, expected classes={o.classes}", "tree",
                              Reason.WRONG_COUNT)
        self.class_map = None if o.map is None else read_map(o.map, o.classes, place)
        self.reported: tuple[int, ...] | None = None

    def report(self, numbers: Sequence[int]) -> None:
        """Make ``decode`` give the probabilities of these classes of the tree for each box, instead of the one class
        above the threshold. So YOLO9000 is evaluated with the classes of another data set.

        Darknet: the ``map`` of get_region_boxes, of 200 classes whatever its length.
        """
        self.reported, self.classes = tuple(numbers), len(numbers)

    @classmethod
    def needed_filters(cls, options: RegionOptions) -> int:
        return options.num * (options.coords + 1 + options.classes)

    def onnx_shape(self, resizable: bool) -> Sequence[Any]:
        return self.shape.height, self.shape.width, self.shape.channels

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1).unflatten(3, (self.count, -1))            # (N, H, W, A, 5 + C)
        box, objectness, classes = y.split((4, 1, y.shape[4] - 5), 4)
        classes, rest = classes.split((self.options.classes, self.options.coords - 4), 4)
        if self.tree is not None:
            classes = self.tree.softmax(classes)
        elif self.options.softmax:
            classes = classes.softmax(4)
        return torch.cat([box, objectness.sigmoid(), classes, rest], 4).flatten(3)

    def facts(self) -> dict[str, Any]:
        o = self.options
        return {"anchors": [list(anchor) for anchor in self.anchors], "coords": o.coords, "softmax": o.softmax,
                "tree": o.tree, "classfix": o.classfix}

    def onnx(self, graph: Any, *xs: str) -> str:
        o, x = self.options, graph("Transpose", xs[0], perm=[0, 2, 3, 1])
        x = graph.reshape(x, self.shape.height, self.shape.width, self.count, -1)
        box, objectness, classes, rest = graph.split(x, 4, [4, 1, o.classes, o.coords - 4])
        if self.tree is not None:
            classes = self.tree.onnx_softmax(graph, classes)
        elif o.softmax:
            classes = graph("Softmax", classes, axis=4)
        x = graph("Concat", box, graph("Sigmoid", objectness), classes, *[rest] * (o.coords > 4), axis=4)
        return graph.reshape(x, self.shape.height, self.shape.width, -1)

    def onnx_boxes(self, graph: Any, output: str) -> tuple[str, str]:
        if self.tree is not None:
            raise self.place.error("chooses one class down a tree, which has no counterpart in ONNX; its output has",
                                   "tree", Reason.UNSUPPORTED)
        o, (_, height, width) = self.options, self.shape
        x = graph("Transpose", graph.reshape(output, height * width, self.count, -1), perm=[0, 3, 1, 2])
        xy, wh, objectness, classes, _ = graph.split(x, 1, [2, 2, 1, o.classes, o.coords - 4])      # (N, ., H * W, A)
        place, cells = torch.arange(height * width), torch.tensor([width, height]).view(1, 2, 1, 1)
        corner = torch.stack([place % width, place // width])[None, :, :, None]
        xy = graph("Div", graph("Add", graph("Sigmoid", xy), graph.constant(corner.float())),
                   graph.constant(cells.float()))
        sizes = torch.tensor(self.anchors).mT[None, :, None] / cells                                # (1, 2, 1, A)
        wh = graph("Mul", graph("Exp", wh), graph.constant(sizes))
        if o.classfix == -1:
            objectness = graph("Where", graph("Less", objectness, .5), 0., objectness)
        return graph.corners(xy, wh), graph.reshape(graph("Mul", classes, objectness), o.classes, -1)

    def decode(self, output: Tensor, width: int, height: int, threshold: float, tree_threshold: float) -> Candidates:
        x = output.unflatten(3, (self.count, -1))
        highest = x[..., 4]
        if self.tree is None and not self.options.softmax:      # class values above 1 make a score of any objectness
            highest = highest * x[..., 5:5 + self.options.classes].amax(-1)
        at = (highest > threshold).nonzero(as_tuple=True)
        image, row, column, anchor = at
        values, grid = x[at], x.new_tensor([self.shape.width, self.shape.height])
        xy = (values[:, :2].sigmoid() + torch.stack([column, row], 1)) / grid
        wh = values[:, 2:4].exp() * x.new_tensor(self.anchors)[anchor] / grid
        scale, classes = values[:, 4], values[:, 5:5 + self.options.classes]
        if self.options.classfix == -1:
            scale = torch.where(scale < .5, 0, scale)
        if self.tree is None:
            scores = class_scores(scale, classes, threshold)
        elif self.reported is not None:
            scores = class_scores(scale, self.tree.probabilities(classes)[:, list(self.reported)], threshold)
        else:
            scores = last_above(self.tree.probabilities(classes), tree_threshold)
            scores = torch.where(scale[:, None] > threshold, scores, 0)
        return Candidates(torch.cat([xy, wh], 1), torch.ones_like(scale), scores, image)


def last_above(probabilities: Tensor, threshold: float) -> Tensor:
    """Keep the last class of each row that is above the threshold, zero the others. (K, C) -> (K, C)"""
    above = probabilities > threshold
    later = above.flip(1).cumsum(1).flip(1)         # how many from here on are above
    return torch.where(above & (later == 1), probabilities, 0)
