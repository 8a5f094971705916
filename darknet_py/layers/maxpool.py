"""[maxpool] and [local_avgpool]: windows over one channel, with C's own rule for borders."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.base import Layer, LayerOptions, Place, Shape, layer
from darknet_py.layers.blur import Blur


@dataclass(frozen=True)
class PoolOptions(LayerOptions):
    stride: int = option(1, least=1)              # step of the window, places
    stride_x: int | None = option(None, least=1)  # step along x; C: stride
    stride_y: int | None = option(None, least=1)  # step along y; C: stride
    size: int | None = option(None, least=1)      # side of the window, places; C: stride
    padding: int | None = option(None, least=0)   # the total of both sides, places; C: size - 1


@dataclass(frozen=True)
class MaxPoolOptions(PoolOptions):
    maxpool_depth: int = 0                  # 1: over channels that are out_channels apart
    out_channels: int = option(1, least=1)  # output channels, with maxpool_depth
    maxpool_zero_nonmax: int = 0            # 1: keep the maxima where they are, zeros elsewhere
    antialiasing: int = 0                   # 1: blur 3x3 and then stride; 2: blur 2x2


class Pool(Layer):
    """Windows that start padding / 2 cells before the border and may reach beyond the other one.

    Darknet: make_maxpool_layer. The output side is (side + padding - size) / stride + 1.
    """

    any_size = True

    def __init__(self, options: PoolOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o = options
        self.size = o.stride if o.size is None else o.size
        self.padding = self.size - 1 if o.padding is None else o.padding
        self.stride = (o.stride if o.stride_y is None else o.stride_y, o.stride if o.stride_x is None else o.stride_x)
        if self.padding > 2 * (self.size - 1):
            raise place.error(f"padding={self.padding} puts windows wholly outside, expected at most "
                              f"{2 * (self.size - 1)} for size={self.size}", "padding", Reason.OUT_OF_RANGE)
        self._plan(self.stride)

    def _plan(self, stride: tuple[int, int]) -> None:
        """Shape, borders and cost for the stride of the windows themselves."""
        (channels, *sides), before = self.shapes[0], self.padding // 2
        self.inner_stride = stride
        self.shape = self.output(channels, *((side + self.padding - self.size) // step + 1
                                             for side, step in zip(sides, stride, strict=True)))
        after = [(out - 1) * step + self.size - before - side
                 for out, step, side in zip(self.shape[1:], stride, sides, strict=True)]
        self.border = (before, after[1], before, after[0])      # left, right, top, bottom; may be negative: cropped
        self.check_padded(sides[0] + before + after[0], sides[1] + before + after[1])
        self.flops = self.size ** 2 * self.shape.size
        self.window = (self.size, stride[1], stride[0], 1)


@layer("maxpool", "max", options=MaxPoolOptions)
class MaxPool(Pool):
    """Maximum over windows, or over channels.

    Darknet: parse_maxpool, forward_maxpool_layer_gpu. Cells outside never win. maxpool_zero_nonmax acts on the GPU
    alone, and compares equal places of input and output: it needs stride 1. With antialiasing C leaves old values
    behind the result in ``l.output`` (see ``darknet_output``).
    """

    def __init__(self, options: MaxPoolOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o, (shape,) = options, shapes
        self.blur = None if o.maxpool_depth else Blur.of(o.antialiasing, self.stride)
        if o.maxpool_depth:
            self.shape = self.output(o.out_channels, shape.height, shape.width)
        elif self.blur is not None:
            self._plan((1, 1))
            self.shape = self.output(shape.channels, *self.blur.sides(self.shape))
        elif o.maxpool_zero_nonmax and self.shape != shape:
            raise place.error(f"maxpool_zero_nonmax=1 needs an output of the input's size {shape}, "
                              f"found {self.shape}", "maxpool_zero_nonmax", Reason.SHAPE_MISMATCH)

    def forward(self, x: Tensor) -> Tensor:
        if self.options.maxpool_depth:
            return depth_maximum(x, self.options.out_channels)
        y = self.maximum(x)
        if self.blur is not None:
            return self.blur(y)
        return torch.where(x == y, y, 0) if self.options.maxpool_zero_nonmax else y

    def maximum(self, x: Tensor) -> Tensor:
        left, right, top, bottom = self.border
        if left == right == top == bottom and left <= self.size // 2:
            return F.max_pool2d(x, self.size, self.inner_stride, left)
        return F.max_pool2d(F.pad(x, self.border, value=torch.finfo(x.dtype).min), self.size, self.inner_stride)

    def onnx(self, graph: Any, *xs: str) -> str:
        o, (x,) = self.options, xs
        if o.maxpool_depth:
            missing = -self.shapes[0].channels % o.out_channels
            x = graph.pad(x, graph.LEAST, after_channels=missing)
            x = graph.reshape(x, -1, o.out_channels, *self.shape[1:])
            return graph.reduce("Max", x, 1, keepdims=0)
        y = graph.pool("MaxPool", x, self)
        if self.blur is not None:
            return self.blur.onnx(graph, y, self.shape.channels)
        return graph("Where", graph("Equal", x, y), y, 0.) if o.maxpool_zero_nonmax else y

    def darknet_output(self, output: Tensor, *xs: Tensor) -> Tensor:
        return output if self.blur is None else self.blur.darknet_output(output, self.maximum(*xs))

    def label(self) -> tuple[str, str]:
        return ("max-depth" if self.options.maxpool_depth else "max"), ""


def depth_maximum(x: Tensor, out_channels: int) -> Tensor:
    """Output channel g is the maximum of channels g, g + out_channels, ... (N, C, H, W) -> (N, out_channels, H, W)"""
    missing = -x.shape[1] % out_channels
    x = F.pad(x, (0, 0, 0, 0, 0, missing), value=torch.finfo(x.dtype).min)
    return x.unflatten(1, (-1, out_channels)).amax(1)


@layer("local_avgpool", "local_avg", options=PoolOptions)
class LocalAvgPool(Pool):
    """Mean over windows; cells outside count for nothing.

    Darknet: parse_local_avgpool, forward_local_avgpool_layer_gpu.
    """

    def forward(self, x: Tensor) -> Tensor:
        inside = F.pad(torch.ones_like(x[:1, :1]), self.border)
        total = F.avg_pool2d(F.pad(x, self.border), self.size, self.inner_stride)
        return total / F.avg_pool2d(inside, self.size, self.inner_stride)

    def onnx(self, graph: Any, *xs: str) -> str:
        return graph.pool("AveragePool", xs[0], self)

    def label(self) -> tuple[str, str]:
        return "avg", ""
