"""[connected]"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.layers.activations import ACTIVATIONS
from darknet_py.layers.base import Blob, Layer, LayerOptions, Place, Shape, layer
from darknet_py.layers.batchnorm import Norm
from darknet_py.options import option


@dataclass(frozen=True)
class ConnectedOptions(LayerOptions):
    output: int = option(1, least=1)
    activation: str = option("logistic", choices=ACTIVATIONS)
    batch_normalize: int = 0


@layer("connected", "conn", options=ConnectedOptions)
class Connected(Layer):
    """A dense layer: every output sees every input.

    Darknet: make_connected_layer. In files: biases, weights, [scales, mean, variance]; the weights are transposed where
    the header's major or minor version is above 1000.
    """

    def __init__(self, options: ConnectedOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.shape = self.output(options.output, 1, 1)
        self.weight = self.parameter(options.output, shapes[0].size)
        if options.batch_normalize:
            self.norm = Norm(self, options.output)
        else:
            self.bias = self.parameter(options.output)
        self.activate = ACTIVATIONS[options.activation]

    def forward(self, x: Tensor) -> Tensor:
        norm = self._modules.get("norm")
        x = F.linear(x.flatten(1), self.weight, self.bias if norm is None else None)
        return self.activate(x if norm is None else norm(x))[:, :, None, None]

    def blobs(self) -> Iterator[Blob]:
        norm = self._modules.get("norm")
        yield Blob(self.bias if norm is None else norm.bias)
        yield Blob(self.weight, stored="matrix")
        if norm is not None:
            yield from norm.statistics()

    def reset_parameters(self) -> None:
        """Darknet draws weights uniformly with a bound of sqrt(2 / inputs)."""
        bound = math.sqrt(2 / self.weight.shape[1])
        nn.init.uniform_(self.weight, -bound, bound)
        if "norm" in self._modules:
            self.norm.reset_parameters()
        else:
            nn.init.zeros_(self.bias)
