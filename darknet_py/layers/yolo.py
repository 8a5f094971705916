"""[yolo], the head of YOLOv3 and later, and the base class that it shares with [Gaussian_yolo]."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.base import LayerOptions, Place, Shape, check_filters, layer
from darknet_py.layers.class_tree import read_map
from darknet_py.layers.head import Candidates, DetectionHead

IOU_KINDS = ("iou", "giou", "diou", "ciou")
NMS_KINDS = ("default", "greedynms", "diounms", "cornersnms")      # the last one works as the first
UNBOUNDED = 3.4e38
NO_LAYER = 999_999
MOST_ANCHORS = 10_000


@dataclass(frozen=True)
class AnchorOptions(LayerOptions):
    """Options of both [yolo] and [Gaussian_yolo]."""

    classes: int = option(20, least=1)   # number of classes
    num: int = option(1, least=1)        # anchors in the list
    mask: tuple[int, ...] | None = None  # numbers of those of this head; C: all
    anchors: tuple[float, ...] = ()      # width, height of each, in pixels of the network's input; C: .5
    scale_x_y: float = 1                 # stretches offsets in a cell about its middle (grid sensitivity)
    # measure of overlap in suppression: iou, or with distances of centres
    nms_kind: str = option("default", choices=NMS_KINDS)
    beta_nms: float = .6                 # exponent of the distance
    map: str | None = None               # a file of numbers: labels -> classes

    # for training alone
    max: int = 200                # ground truths of an image, at most
    max_delta: float = UNBOUNDED  # bound of a box's gradient, and of counters_per_class' factors
    counters_per_class: tuple[int, ...] | None = None  # objects of each class in the data, to weigh rare ones up
    label_smooth_eps: float = 0   # targets of classes are this far from 0 and 1, half of it each
    objectness_smooth: int = 0    # 1: targets of objectness are overlaps instead of 1
    iou_normalizer: float = .75   # weight of the box's gradient
    obj_normalizer: float = 1     # weight of the objectness' gradient
    cls_normalizer: float = 1     # weight of the classes' gradient
    delta_normalizer: float = 1   # weight of all of them
    # the box's loss: squared errors or 1 - overlap of this kind
    iou_loss: str = option("mse", choices=("mse", *IOU_KINDS))
    iou_thresh_kind: str = option("iou", choices=IOU_KINDS)  # the overlap that iou_thresh bounds
    iou_thresh: float = 1         # anchors that fit an object's shape better are positives too; 1: the best alone
    ignore_thresh: float = .5     # boxes that overlap an object of a likely class by more are no negatives
    truth_thresh: float = 1       # boxes that overlap an object by more are positives; 1: none
    jitter: float = .2            # how far each edge of a picture moves, in or out, as a share of it
    resize: float = 1             # zoom: below 1 out alone, above 1 in or out by up to this
    random: float = 0  # sizes of the input change every 10 iterations, by up to this factor; 1: by 1.4; 0: not


@dataclass(frozen=True)
class YoloOptions(AnchorOptions):
    new_coords: int = 0              # 1: outputs are activated already, sizes are squares
    embedding_layer: int = NO_LAYER  # the layer with an embedding of each box, for tracking; C: none
    focal_loss: int = 0              # 1, in training: focal loss of the classes
    show_details: int = 1            # 1: figures of the head go into the log of training

    # of the tracker by embeddings
    track_history_size: int = 5   # frames in which an object is looked for
    sim_thresh: float = .8        # similarity that a match must exceed
    dets_for_track: int = 1       # matches that an object must exceed to get a number
    dets_for_show: int = 1        # matches that an object must reach to be shown
    track_ciou_norm: float = .01  # share of the overlap in the similarity


class AnchorHead(DetectionHead):
    """A head with ``count`` anchors a place, each with ``entries`` values and then the class probabilities."""

    any_size = True
    entries: ClassVar[int]
    to_center: float = 0            # from the point that x and y mean to the middle of the box, in parts of its size

    def __init__(self, options: AnchorOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o = options
        mask, most = range(o.num) if o.mask is None else o.mask, max(o.num, len(o.anchors) // 2)
        if o.mask is not None and not 0 <= min(o.mask, default=-1) <= max(o.mask) < most:
            raise place.error(f"mask= needs numbers from 0 to {most - 1} (num={o.num}), found {o.mask}", "mask",
                              Reason.OUT_OF_RANGE)
        self.count = self.channels_per_class = len(mask)
        self.classes = o.classes
        check_filters(place, self.shape, f"{self.count} anchors x ({self.entries} + {o.classes} classes)",
                      self.needed_filters(o))
        if max(mask) >= o.num:
            place.warn(f"mask= names anchor {max(mask)}, num={o.num} counts fewer; it is taken from anchors=", "mask")
        self.mask, anchors = tuple(mask), take_anchors(o, range(most), place)
        self.anchors = tuple(anchors[index] for index in mask)
        self.all_anchors = anchors[:o.num]      # those that a truth may choose, this head's and the others'
        if o.counters_per_class is not None and len(o.counters_per_class) != o.classes:
            raise place.error(f"counters_per_class= needs {o.classes} values, one a class, "
                              f"found {len(o.counters_per_class)}", "counters_per_class", Reason.WRONG_COUNT)
        self.class_map = None if o.map is None else read_map(o.map, o.classes, place)

    @classmethod
    def needed_filters(cls, options: AnchorOptions) -> int:
        return (options.num if options.mask is None else len(options.mask)) * (cls.entries + options.classes)

    def split(self, x: Tensor) -> Tensor:
        """(N, A * (E + C), H, W) -> (N, A, E + C, H, W), a view."""
        return x.unflatten(1, (self.count, self.entries + self.options.classes))

    def scaled(self, xy: Tensor) -> Tensor:
        """Offsets in a cell stretched about its middle by scale_x_y."""
        scale = self.options.scale_x_y
        return xy * scale - .5 * (scale - 1)

    def facts(self) -> dict[str, Any]:
        return {"anchors": [list(anchor) for anchor in self.anchors], "mask": list(self.mask),
                "scale_x_y": self.options.scale_x_y, "new_coords": 0, "entries": self.entries}

    def onnx_scaled(self, graph: Any, xy: str) -> str:
        """``scaled``, added to a graph."""
        scale = float(self.options.scale_x_y)
        return xy if scale == 1 else graph("Sub", graph("Mul", xy, scale), .5 * (scale - 1))

    def onnx_boxes(self, graph: Any, output: str) -> tuple[str, str]:
        net, (grid, cells) = self.place.net, graph.grid(output, self.shape)
        stride = graph.constant(torch.tensor([net.width / self.shape.width, net.height / self.shape.height])
                                .view(1, 2, 1, 1))
        boxes, scores = [], []
        for anchor, values in zip(self.anchors, graph.split(output, 1, [self.entries + self.classes] * self.count),
                                  strict=True):
            xy, wh, certainty, classes = self.onnx_entries(graph, values)
            wh = graph("Div", graph("Mul", wh, graph.constant(torch.tensor(anchor).view(1, 2, 1, 1))),
                       graph("Mul", cells, stride))
            xy = graph("Div", graph("Add", xy, grid), cells)
            xy = graph("Add", xy, graph("Mul", wh, self.to_center)) if self.to_center else xy
            boxes.append(graph.corners(xy, wh))
            scores.append(graph.reshape(graph("Mul", classes, certainty), self.classes, -1))
        return graph("Concat", *boxes, axis=2), graph("Concat", *scores, axis=2)

    def onnx_entries(self, graph: Any, values: str) -> tuple[str, str, str, str]:
        """An anchor's values: x and y in the cell, the factor of the anchor's size, objectness, classes."""
        raise AssertionError(f"{type(self).__name__} lacks onnx_entries")

    def candidates(self, output: Tensor, threshold: float) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Places whose objectness is above the threshold.

        Returns:
            (K, E + C) their values, (image, anchor, row, column) each (K,), and (K, 2) their anchors in pixels.
        """
        x = self.split(output)
        at = (x[:, :, self.entries - 1] > threshold).nonzero(as_tuple=True)
        image, anchor, row, column = at
        return x[image, anchor, :, row, column], at, x.new_tensor(self.anchors)[anchor]


def take_anchors(options: Any, indices: Iterable[int], place: Place) -> tuple[tuple[float, float], ...]:
    """Anchors by number, from the flat list of ``options``; what it lacks of ``num`` is .5, as in C, with a warning."""
    anchors = options.anchors
    if options.num > MOST_ANCHORS:
        raise place.error(f"num= needs at most {MOST_ANCHORS} anchors, found {options.num}", "num", Reason.OUT_OF_RANGE)
    if len(anchors) < 2 * options.num:
        place.warn(f"anchors= has {len(anchors)} values, expected {2 * options.num} for num={options.num}; "
                   "the others are .5", "anchors")

    def value(index: int) -> float:
        return anchors[index] if index < len(anchors) else .5

    return tuple((value(2 * index), value(2 * index + 1)) for index in indices)


def class_scores(objectness: Tensor, probabilities: Tensor, threshold: float) -> Tensor:
    """(K,) and (K, C) -> (K, C) products, zero where not above the threshold."""
    scores = objectness[:, None] * probabilities
    return torch.where(scores > threshold, scores, 0)


@layer("yolo", options=YoloOptions)
class Yolo(AnchorHead):
    """x, y, objectness and classes become logistic (not with new_coords), x and y are stretched by scale_x_y.

    Darknet: parse_yolo, forward_yolo_layer_gpu, get_yolo_box, get_yolo_detections.
    """

    guarded = 3
    entries = 5

    def __init__(self, options: YoloOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        if options.embedding_layer != NO_LAYER:
            self.embedding_layer = place.resolve(options.embedding_layer, "embedding_layer")
            self.embedding_size = place.layers[self.embedding_layer].shape.channels // self.count

    def forward(self, x: Tensor) -> Tensor:
        y = self.split(x)
        xy, wh, rest = y.split((2, 2, y.shape[2] - 4), 2)
        if not self.options.new_coords:
            xy, rest = xy.sigmoid(), rest.sigmoid()
        return torch.cat([self.scaled(xy), wh, rest], 2).flatten(1, 2)

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"new_coords": self.options.new_coords}

    def onnx(self, graph: Any, *xs: str) -> str:
        parts = []
        for values in graph.split(xs[0], 1, [self.entries + self.classes] * self.count):
            xy, wh, rest = graph.split(values, 1, [2, 2, 1 + self.classes])
            if not self.options.new_coords:
                xy, rest = graph("Sigmoid", xy), graph("Sigmoid", rest)
            parts += [self.onnx_scaled(graph, xy), wh, rest]
        return graph("Concat", *parts, axis=1)

    def onnx_entries(self, graph: Any, values: str) -> tuple[str, str, str, str]:
        xy, wh, objectness, classes = graph.split(values, 1, [2, 2, 1, self.classes])
        wh = graph("Mul", graph("Mul", wh, wh), 4.) if self.options.new_coords else graph("Exp", wh)
        return xy, wh, objectness, classes

    def decode(self, output: Tensor, width: int, height: int, threshold: float, tree_threshold: float) -> Candidates:
        values, (image, _, row, column), anchors = self.candidates(output, threshold)
        xy = (values[:, :2] + torch.stack([column, row], 1)) / values.new_tensor([self.shape.width, self.shape.height])
        wh = 4 * values[:, 2:4] ** 2 if self.options.new_coords else values[:, 2:4].exp()
        wh = wh * anchors / values.new_tensor([width, height])
        objectness = values[:, 4]
        return Candidates(torch.cat([xy, wh], 1), objectness, class_scores(objectness, values[:, 5:], threshold), image)

    def embeddings(self, output: Tensor, found: Tensor, threshold: float) -> Tensor:
        _, (image, anchor, row, column), _ = self.candidates(output, threshold)
        found = found[:, :self.count * self.embedding_size].unflatten(1, (self.count, self.embedding_size))
        return found[image, anchor, :, row, column]

    def label(self) -> tuple[str, str]:
        return "yolo", ""
