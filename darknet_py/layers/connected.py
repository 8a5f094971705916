"""[connected]: dense layer."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.layers.activations import ACTIVATIONS
from darknet_py.layers.base import Blob, LayerOptions, Place, Shape, layer
from darknet_py.layers.batchnorm import Normalized


@dataclass(frozen=True)
class ConnectedOptions(LayerOptions):
    output: int = option(1, least=1)  # numbers in the output
    activation: str = option("logistic", choices=ACTIVATIONS)  # function of the output
    batch_normalize: int = 0          # 1: batch normalisation instead of a bias


class _BoundedGradient(torch.autograd.Function):
    """The identity, whose gradient is kept within [-1, 1]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:     # type: ignore[override]
        return gradient.clamp(-1, 1)


@layer("connected", "conn", options=ConnectedOptions)
class Connected(Normalized):
    """A dense (fully connected) layer.

    Darknet: make_connected_layer. In files: biases, weights, [scales, mean, variance]; the weights are transposed where
    the header's major or minor version is above 1000. Going back, the GPU code (backward_connected_layer_gpu) keeps
    each value's delta within [-1, 1]. C never updates these weights (update_network_gpu passes over the kind): a fault
    that is not repeated here.
    """

    def __init__(self, options: ConnectedOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.shape = self.output(options.output, 1, 1)
        self.weight = self.parameter(options.output, shapes[0].size)
        self.operations = 2 * self.weight.numel()
        self.end_with(options.output, options.batch_normalize, options.activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.finish(F.linear(x.flatten(1), self.weight, self.bias), self.norm)[:, :, None, None]
        return self.bounded(x) if x.requires_grad else x

    def onnx(self, graph: Any, *xs: str) -> str:
        x = graph("Flatten", xs[0])
        x = graph("Gemm", x, graph.constant(self.weight), graph.constant(self.bias), transB=1)
        return graph.activation(self.options.activation, graph.reshape(x, *self.shape))

    bounded = staticmethod(_BoundedGradient.apply)

    def blobs(self) -> Iterator[Blob]:
        yield self.bias_blob()
        yield Blob(self.weight, stored="matrix")
        yield from self.norm_blobs()
