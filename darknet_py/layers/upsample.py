"""[upsample]: nearest-neighbour upsampling."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from darknet_py.errors import Reason
from darknet_py.layers.base import Layer, LayerOptions, Place, Shape, layer


@dataclass(frozen=True)
class UpsampleOptions(LayerOptions):
    stride: int = 2   # factor of the sides; negative: squares of this side are summed into one value
    scale: float = 1  # factor of the values


@layer("upsample", options=UpsampleOptions)
class Upsample(Layer):
    """Each value repeated over a square, times scale; or with a negative stride the sum of a square.

    Darknet: make_upsample_layer, upsample_gpu. Downsampling writes w * h * stride values a channel by flat index, so
    C needs sides that the stride divides.
    """

    any_size = True

    def __init__(self, options: UpsampleOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        (channels, height, width), stride = shapes[0], options.stride
        if stride == 0:
            raise place.error("stride= needs a number other than 0", "stride", Reason.OUT_OF_RANGE)
        if stride < 0 and (height % stride or width % stride):
            raise place.error(f"stride={stride} must divide the sides of {shapes[0]}", "stride", Reason.INDIVISIBLE)
        self.shape = (self.output(channels, height * stride, width * stride) if stride > 0 else
                      self.output(channels, height // -stride, width // -stride))
        self.window, self.enlarges = (1, abs(stride), abs(stride), 1), stride > 0

    def forward(self, x: Tensor) -> Tensor:
        stride, scale = self.options.stride, self.options.scale
        x = F.interpolate(x, scale_factor=stride) if stride > 0 else F.avg_pool2d(x, -stride) * stride ** 2
        return x if scale == 1 else x * scale

    def onnx(self, graph: Any, *xs: str) -> str:
        stride, scale = self.options.stride, self.options.scale
        if stride > 0:
            x = graph.upsample(xs[0], stride)
        else:
            x = graph("AveragePool", xs[0], kernel_shape=[-stride] * 2, strides=[-stride] * 2)
            scale *= stride ** 2
        return x if scale == 1 else graph("Mul", x, float(scale))

    def label(self) -> tuple[str, str]:
        return ("upsample" if self.options.stride > 0 else "downsample"), ""
