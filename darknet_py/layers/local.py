"""[local]: locally connected layer."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.options import option
from darknet_py.layers.activations import ACTIVATIONS
from darknet_py.layers.base import Blob, Layer, LayerOptions, Place, Shape, layer


@dataclass(frozen=True)
class LocalOptions(LayerOptions):
    filters: int = option(1, least=1)  # output channels
    size: int = option(1, least=1)     # side of the kernel, pixels
    stride: int = option(1, least=1)   # step of the window, pixels
    pad: int = 0                       # 1: size / 2 pixels on each side
    activation: str = option("logistic", choices=ACTIVATIONS)  # function of the output


@layer("local", options=LocalOptions)
class Local(Layer):
    """A convolution whose weights differ from place to place.

    Darknet: make_local_layer. In files: biases (filters, H, W), weights (H * W, filters, C, size, size). pad=1 pads one
    pixel and expects size=3; for other sizes C reads beyond its buffer, here size / 2 pixels are padded.
    """

    def __init__(self, options: LocalOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o, (channels, *sides) = options, shapes[0]
        self.padding = o.size // 2 if o.pad else 0
        self.shape = self.output(o.filters, *((side + 2 * self.padding - o.size) // o.stride + 1 for side in sides))
        locations = self.shape.height * self.shape.width
        self.bias = self.parameter(*self.shape)
        self.weight = self.parameter(locations, o.filters, channels * o.size ** 2)
        self.operations = 2 * self.weight.numel()
        self.activate = ACTIVATIONS[o.activation]
        self.window = (o.size, o.stride, o.stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        o = self.options
        patches = F.unfold(x, o.size, padding=self.padding, stride=o.stride)    # (N, C * size^2, H * W)
        x = torch.einsum("nkl,lfk->nfl", patches, self.weight)
        return self.activate(x.reshape(-1, *self.shape) + self.bias)

    def onnx(self, graph: Any, *xs: str) -> str:
        o, values = self.options, self.weight.shape[2]
        one = torch.eye(values).view(values, -1, o.size, o.size)                # each value of a window, a channel
        x = graph("Conv", xs[0], graph.constant(one), strides=[o.stride] * 2, pads=[self.padding] * 4)
        x = graph("Transpose", graph.reshape(x, values, -1), perm=[2, 0, 1])    # (L, N, K)
        x = graph("MatMul", x, graph.constant(self.weight.mT))                  # (L, N, F)
        x = graph.reshape(graph("Transpose", x, perm=[1, 2, 0]), *self.shape)
        return graph.activation(o.activation, graph("Add", x, graph.constant(self.bias)))

    def blobs(self) -> Iterator[Blob]:
        yield Blob(self.bias)
        yield Blob(self.weight)

    def reset_parameters(self) -> None:
        """Darknet draws uniformly with a bound of sqrt(2 / fan-in), but for the first place only."""
        bound = math.sqrt(2 / self.weight.shape[2])
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def label(self) -> tuple[str, str]:
        return "local", str(self.options.filters)
