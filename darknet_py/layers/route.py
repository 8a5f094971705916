"""[route]: concatenation of outputs."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.base import Layer, LayerOptions, Place, Shape, layer


@dataclass(frozen=True)
class RouteOptions(LayerOptions):
    layers: tuple[int, ...] = ()        # which are joined: numbers from 0 on, or negative ones back from here
    groups: int = option(1, least=1)    # take one of this many equal parts of each input
    group_id: int = option(0, least=0)  # which part, from 0 on

    # of C's execution: read, and without effect here
    stream: int = -1       # CUDA stream
    wait_stream: int = -1  # CUDA stream to wait for


@layer("route", options=RouteOptions)
class Route(Layer):
    """Earlier outputs concatenated along the channels, or one group of channels of each.

    Darknet: parse_route, forward_route_layer. Inputs of different width and height leave C with an output of no size
    and a flat copy of the numbers; that is an error here.
    """

    any_size = True

    def __init__(self, options: RouteOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o, first = options, shapes[0]
        for index, shape in zip(o.layers, shapes, strict=True):
            if shape[1:] != first[1:]:
                raise place.error(f"layers= needs inputs of equal width and height, found {first} from "
                                  f"{o.layers[0]} and {shape} from {index}", "layers", Reason.SHAPE_MISMATCH)
            if shape.channels % o.groups:
                raise place.error(f"groups={o.groups} must divide the {shape.channels} channels of {index}", "groups",
                                  Reason.INDIVISIBLE)
        if o.group_id >= o.groups:
            raise place.error(f"group_id={o.group_id} needs a number from 0 to {o.groups - 1}", "group_id",
                              Reason.OUT_OF_RANGE)
        self.shape = self.output(sum(shape.channels for shape in shapes) // o.groups, *first[1:])

    @classmethod
    def sources(cls, options: RouteOptions, place: Place) -> tuple[int, ...]:
        if not options.layers:
            raise place.error("needs layers=, the layers to take", reason=Reason.MISSING_KEY)
        return tuple(place.resolve(reference, "layers") for reference in options.layers)

    def forward(self, *xs: Tensor) -> Tensor:
        if self.options.groups > 1:
            xs = tuple(x.chunk(self.options.groups, 1)[self.options.group_id] for x in xs)
        return xs[0] if len(xs) == 1 else torch.cat(xs, 1)

    def onnx(self, graph: Any, *xs: str) -> str:
        o = self.options
        if o.groups > 1:
            sizes = [shape.channels // o.groups for shape in self.shapes]
            xs = tuple(graph.slice(x, 1, o.group_id * size, (o.group_id + 1) * size)
                       for x, size in zip(xs, sizes, strict=True))
        return xs[0] if len(xs) == 1 else graph("Concat", *xs, axis=1)

    def label(self) -> tuple[str, str]:
        o = self.options
        part = f" {o.group_id}/{o.groups}" if o.groups > 1 else ""
        return "route", " ".join(str(index) for index in self.sources(o, self.place)) + part
