"""[softmax], [cost], [contrastive], and pjreddie's [logistic] and [iseg]: heads without boxes."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.base import LayerOptions, Place, Shape, check_filters, layer
from darknet_py.layers.class_tree import read_tree
from darknet_py.layers.head import Head


@dataclass(frozen=True)
class SoftmaxOptions(LayerOptions):
    groups: int = option(1, least=1)  # equal parts, each with a softmax of its own
    temperature: float = 1            # divides the inputs
    tree: str | None = None           # a file of classes; siblings share a softmax
    spatial: float = 0                # 1: over channels, at each place
    noloss: int = 0                   # 1: no loss of its own; a layer that reads this one has one


@dataclass(frozen=True)
class CostOptions(LayerOptions):
    # squares (masked: of known values), or smooth absolute values
    type: str = option("sse", choices=("sse", "masked", "smooth"))
    scale: float = 1  # factor of the gradient
    ratio: float = 0  # read, and without effect, as in C


@dataclass(frozen=True)
class ContrastiveOptions(LayerOptions):
    classes: int = option(1000, least=1)  # number of classes
    yolo_layer: int = 0                   # the [yolo] whose objects' embeddings these are; 0: none, whole images
    temperature: float = 1                # divides similarities
    cls_normalizer: float = 1             # weight of the gradient
    max_delta: float = 3.4e38             # bound of the gradient
    contrastive_neg_max: int = 3          # with yolo_layer, negatives of an object, at most; 0: all


@dataclass(frozen=True)
class IsegOptions(LayerOptions):
    classes: int = option(20, least=1)  # number of classes
    ids: int = option(32, least=0)      # channels of the embedding that tells instances apart


@layer("softmax", "soft", options=SoftmaxOptions)
class Softmax(Head):
    """Softmax over all values, over groups of them, down a tree, or over channels.

    Darknet: forward_softmax_layer_gpu. The CPU code knows no spatial; the GPU code starts it at every channel instead
    of once, so what it leaves depends on which thread wrote last. Here it is the softmax over channels.
    """

    classifies = True

    def __init__(self, options: SoftmaxOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.classes, self.channels_per_class = self.shape.size, 1
        if self.shape.size % options.groups:
            raise place.error(f"groups={options.groups} must divide the {self.shape.size} inputs", "groups",
                              Reason.INDIVISIBLE)
        if options.temperature == 0:
            raise place.error("temperature= needs a number other than 0", "temperature", Reason.OUT_OF_RANGE)
        self.tree = None if options.tree is None else read_tree(options.tree, place)
        if self.tree is not None and len(self.tree) != self.shape.size:
            raise place.error(f"tree={options.tree} has {len(self.tree)} classes for {self.shape.size} inputs", "tree",
                              Reason.WRONG_COUNT)

    def forward(self, x: Tensor) -> Tensor:
        o = self.options
        if self.tree is not None:
            return self.tree.softmax(x.flatten(1) / o.temperature).view_as(x)
        if o.spatial:
            return x.softmax(1)
        return (x.reshape(x.shape[0], o.groups, -1) / o.temperature).softmax(2).view_as(x)

    def onnx(self, graph: Any, *xs: str) -> str:
        o, x = self.options, xs[0]
        if o.spatial:
            return graph("Softmax", x, axis=1)
        x = x if o.temperature == 1 else graph("Div", x, o.temperature)
        if self.tree is not None:
            x = self.tree.onnx_softmax(graph, graph.reshape(x, self.classes))
        else:
            x = graph("Softmax", graph.reshape(x, o.groups, -1), axis=2)
        return graph.reshape(x, *self.shape)


@layer("logistic")
class Logistic(Head):
    """A logistic output for each of several labels. Darknet (pjreddie's): logistic_layer.c."""

    any_size = True

    def __init__(self, options: LayerOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.classes, self.channels_per_class = self.shape.size, 1

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid()

    def onnx(self, graph: Any, *xs: str) -> str:
        return graph("Sigmoid", xs[0])


@layer("iseg", options=IsegOptions)
class Iseg(Head):
    """Instance segmentation: logistic class maps, then maps of an embedding that tells instances apart.

    Darknet (pjreddie's): parse_iseg, forward_iseg_layer_gpu.
    """

    any_size = True

    def __init__(self, options: IsegOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.classes, self.channels_per_class = options.classes, 1
        check_filters(place, self.shape, f"{options.classes} classes + {options.ids} ids",
                      options.classes + options.ids)

    def forward(self, x: Tensor) -> Tensor:
        classes, embedding = x.split((self.options.classes, self.options.ids), 1)
        return torch.cat([classes.sigmoid(), embedding], 1)

    def onnx(self, graph: Any, *xs: str) -> str:
        classes, embedding = graph.split(xs[0], 1, [self.options.classes, self.options.ids])
        return graph("Concat", graph("Sigmoid", classes), embedding, axis=1)


class TrainingHead(Head):
    """A head that computes in training alone; its output is zero without ground truth, as in C."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def onnx(self, graph: Any, *xs: str) -> str:
        return graph("Mul", xs[0], 0.)


@layer("cost", options=CostOptions)
class Cost(TrainingHead):
    """The distance of the output before to the target. Darknet: cost_layer.c."""

    passes_on = True
    any_size = True


@layer("contrastive", options=ContrastiveOptions)
class Contrastive(TrainingHead):
    """Contrastive learning: embeddings of equal objects become similar, those of others dissimilar.

    Darknet: make_contrastive_layer. For yolo_layer=0 C reads through a null pointer; here it means whole images.
    """

    def __init__(self, options: ContrastiveOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.yolo: int | None = None        # its index
        if options.yolo_layer == 0:
            return
        self.yolo = index = place.resolve(options.yolo_layer, "yolo_layer")
        yolo: Any = place.layers[index]
        if yolo.kind != "yolo":
            raise place.error(f"yolo_layer={options.yolo_layer} names layer {index}, a [{yolo.kind}], "
                              "expected a [yolo]", "yolo_layer", Reason.BAD_REFERENCE)
        size = self.shape.channels // yolo.count
        if size != yolo.embedding_size:
            raise place.error(f"has embeddings of {size} values, expected the {yolo.embedding_size} that layer {index} "
                              "reads with embedding_layer=; both should name the same [convolutional]", "yolo_layer",
                              Reason.SHAPE_MISMATCH)
