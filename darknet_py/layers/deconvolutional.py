"""[deconvolutional], of pjreddie/darknet: transposed convolution."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.options import option
from darknet_py.layers.activations import ACTIVATIONS
from darknet_py.layers.base import LayerOptions, Place, Shape, layer
from darknet_py.layers.batchnorm import Normalized


@dataclass(frozen=True)
class DeconvolutionalOptions(LayerOptions):
    filters: int = option(1, least=1)  # output channels
    size: int = option(1, least=1)     # side of the kernel, pixels
    stride: int = option(1, least=1)   # factor by which the sides grow
    pad: int = 0                       # 1: padding = size / 2
    padding: int = option(0, least=0)  # pixels cut from each side
    batch_normalize: int = 0           # 1: batch normalisation instead of a bias
    activation: str = option("logistic", choices=ACTIVATIONS)  # function of the output


@layer("deconvolutional", "deconv", options=DeconvolutionalOptions)
class Deconvolutional(Normalized):
    """A transposed convolution, batch normalisation or bias, activation.

    Darknet (pjreddie's): parse_deconvolutional, forward_deconvolutional_layer. The output side is
    (side - 1) * stride + size - 2 * padding. In files: biases, [scales, mean, variance], weights (C, filters, size,
    size).
    """

    any_size = True
    output_axis = 1

    def __init__(self, options: DeconvolutionalOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o, (channels, *sides) = options, shapes[0]
        self.padding = o.size // 2 if o.pad else o.padding
        self.shape = self.output(o.filters, *((side - 1) * o.stride + o.size - 2 * self.padding for side in sides))
        self.check_padded(*((side - 1) * o.stride + o.size for side in sides))
        self.weight = self.parameter(channels, o.filters, o.size, o.size)
        self.operations = 2 * self.weight.numel() * math.prod(sides)
        self.end_with(o.filters, o.batch_normalize, o.activation)
        self.window = (o.size, o.stride, o.stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv_transpose2d(x, self.weight, self.bias, self.options.stride, self.padding)
        return self.finish(x, self.norm)

    def onnx(self, graph: Any, *xs: str) -> str:
        x = graph("ConvTranspose", xs[0], graph.constant(self.weight), graph.constant(self.bias),
                  strides=[self.options.stride] * 2, pads=[self.padding] * 4)
        return graph.activation(self.options.activation, x)

    def reset_parameters(self) -> None:
        """Darknet draws weights normally with deviation .02, times the growth of the area."""
        super().reset_parameters()
        growth = self.shape.height * self.shape.width / (self.shapes[0].height * self.shapes[0].width)
        nn.init.normal_(self.weight, std=.02 * growth)

    def label(self) -> tuple[str, str]:
        return "deconv", str(self.options.filters)
