"""[normalization], local response normalisation, and pjreddie's [l2norm]."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.layers.base import Layer, LayerOptions, layer


@dataclass(frozen=True)
class NormalizationOptions(LayerOptions):
    alpha: float = .0001            # factor of the sum of squares
    beta: float = .75               # exponent
    kappa: float = 1                # added to the sum
    size: int = option(5, least=1)  # channels in the sum


@layer("l2norm")
class L2Norm(Layer):
    """Each place divided by the length of its vector of channels. Darknet (pjreddie's): forward_l2norm_layer_gpu."""

    any_size = True

    def forward(self, x: Tensor) -> Tensor:
        length = x.norm(dim=1, keepdim=True)
        return x / length.where(length > 0, 1)

    def onnx(self, graph: Any, *xs: str) -> str:
        length = graph("Sqrt", graph.reduce("Sum", graph("Mul", xs[0], xs[0]), 1))
        return graph("Div", xs[0], graph("Where", graph("Greater", length, 0.), length, 1.))


@layer("normalization", "lrn", options=NormalizationOptions)
class Normalization(Layer):
    """x / (kappa + alpha * the sum of squares over neighbouring channels) ^ beta.

    Darknet: make_normalization_layer, forward_normalization_layer. Channel k sees size channels around it, but the
    running sum that C keeps never takes in channel size / 2, and takes it out again all the same. Its gradient is C's
    approximation, which takes the sum for a constant.
    """

    any_size = True

    def forward(self, x: Tensor) -> Tensor:
        o = self.options
        return x * (o.kappa + o.alpha * self.sums(x * x)).detach() ** -o.beta

    def sums(self, square: Tensor) -> Tensor:
        """C's sum of squares around each channel. (N, C, ...) -> (N, C, ...)"""
        size, channels, half = self.options.size, square.shape[1], self.options.size // 2
        total = F.pad(square, (0, 0, 0, 0, 1, 0)).cumsum(1)     # total[k] = the sum of the squares before k
        index = range(channels)
        entered = total[:, [min(k + half + 1, channels) for k in index]]
        left = total[:, [max(k - (size - 1) // 2, 0) for k in index]]
        missed = square[:, half:half + 1] if half < channels else 0
        return entered - left - missed

    def onnx(self, graph: Any, *xs: str) -> str:
        o, channels = self.options, self.shape.channels
        weights = self.sums(torch.eye(channels)[..., None, None]).transpose(0, 1)   # of a convolution over the squares
        total = graph("Conv", graph("Mul", xs[0], xs[0]), graph.constant(o.alpha * weights))
        return graph("Mul", xs[0], graph("Pow", graph("Add", total, float(o.kappa)), -float(o.beta)))

    def label(self) -> tuple[str, str]:
        return "lrn", ""
