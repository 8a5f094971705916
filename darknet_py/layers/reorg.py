"""[reorg] and [reorg3d]: space to depth, and back."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.base import Layer, LayerOptions, Place, Shape, layer


@dataclass(frozen=True)
class ReorgOptions(LayerOptions):
    stride: int = option(1, least=1)  # side of the squares of places that become channels
    reverse: int = 0                  # 1: channels become squares of places


class Reorganized(Layer):
    """(C, H, W) to (C * s^2, H / s, W / s), or with reverse=1 to (C / s^2, H * s, W * s)."""

    def __init__(self, options: ReorgOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        (channels, height, width), s = shapes[0], options.stride
        if options.reverse:
            self.shape = self.output(channels // s ** 2, height * s, width * s)
        else:
            self.shape = self.output(channels * s ** 2, height // s, width // s)
        inner = self.packed_shape()
        if self.shape.size != shapes[0].size or inner.channels % s ** 2:
            raise place.error(f"stride={s} does not fit {shapes[0]}: expected sides that it divides and channels "
                              f"that its square {s ** 2} divides", "stride", Reason.INDIVISIBLE)
        self.window = (1, s, s, 1)

    def packed_shape(self) -> Shape:
        """How C indexes the packed side of the exchange: as this shape, whatever shape the numbers have."""
        return self.shapes[0]

    def forward(self, x: Tensor) -> Tensor:
        s, (channels, height, width) = self.options.stride, self.packed_shape()
        n, c = x.shape[0], channels // s ** 2
        if self.options.reverse:
            x = x.reshape(n, s, s, c, height, width).permute(0, 3, 4, 1, 5, 2)  # (N, c, H, s, W, s)
        else:
            x = x.reshape(n, c, height, s, width, s).permute(0, 3, 5, 1, 2, 4)  # (N, s, s, c, H, W)
        return x.reshape(n, *self.shape)

    def onnx(self, graph: Any, *xs: str) -> str:
        s, (channels, height, width) = self.options.stride, self.packed_shape()
        c, (x,) = channels // s ** 2, xs
        if self.options.reverse:
            x = graph("Transpose", graph.reshape(x, s, s, c, height, width), perm=[0, 3, 4, 1, 5, 2])
        else:
            x = graph("Transpose", graph.reshape(x, c, height, s, width, s), perm=[0, 3, 5, 1, 2, 4])
        return graph.reshape(x, *self.shape)


@layer("reorg", options=ReorgOptions)
class Reorg(Reorganized):
    """YOLOv2's passthrough, which indexes its *input* as the packed side.

    Darknet: reorg_old_layer.c, reorg_cpu. Forward it therefore mixes places and channels in its own way; networks
    were trained with that. The channels must hold s^2.
    """


@layer("reorg3d", options=ReorgOptions)
class Reorg3d(Reorganized):
    """The usual space to depth. Darknet: reorg_layer.c, which indexes its *output* as the packed side."""

    def packed_shape(self) -> Shape:
        return self.shape
