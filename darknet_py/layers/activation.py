"""[activation], [dropout] and [empty]: the shape stays, and there are no weights."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.layers.activations import ACTIVATIONS
from darknet_py.layers.base import Layer, LayerOptions, layer


@dataclass(frozen=True)
class ActivationOptions(LayerOptions):
    activation: str = option("linear", choices=ACTIVATIONS)  # function of each value


@dataclass(frozen=True)
class DropoutOptions(LayerOptions):
    probability: float = option(.2, least=0)  # with which a value, or a square of them, is dropped
    dropblock: int = 0                        # 1: drop squares instead of single values
    dropblock_size_rel: float = 0             # their side, in parts of the layer's
    dropblock_size_abs: float = 0             # their side, in places; C: 7


@layer("empty", "silence")
class Identity(Layer):
    """The input as it is. Darknet: parse_network_cfg_custom (EMPTY)."""

    any_size = True

    def forward(self, x: Tensor) -> Tensor:
        return x

    def onnx(self, graph: Any, *xs: str) -> str:
        return xs[0]


@layer("activation", options=ActivationOptions)
class Activation(Identity):
    """A function of each value. Darknet: make_activation_layer."""

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.options.activation](x)

    def onnx(self, graph: Any, *xs: str) -> str:
        return graph.activation(self.options.activation, xs[0])


@layer("dropout", options=DropoutOptions)
class Dropout(Identity):
    """Zeros at random in training, and the rest scaled up for them; nothing at inference.

    Darknet: parse_dropout, forward_dropout_layer_gpu. dropblock=1: a square in a channel, at most one; its side and
    its probability grow in the first 85 % of max_batches; an image is scaled up by what it has lost. Without a size
    the side is 7; dropblock_size_abs wins over dropblock_size_rel.
    """

    def forward(self, x: Tensor) -> Tensor:
        o = self.options
        if not self.training or not o.probability:
            return x
        return self.drop_blocks(x) if o.dropblock else F.dropout(x, min(1, o.probability))

    def drop_blocks(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)"""
        o, (_, height, width) = self.options, self.shape
        growing = .85 * self.place.net.max_batches
        grown = min(1, self.place.context.iteration / growing) if growing else 1
        if o.dropblock_size_rel and not o.dropblock_size_abs:
            side = min(int(o.dropblock_size_rel * width * grown), int(o.dropblock_size_rel * height * grown))
        else:
            side = int((int(o.dropblock_size_abs) or 7) * grown)
        side = min(max(1, side), width, height)
        chance, place = torch.rand(*x.shape[:2], height * width, device=x.device).min(2)     # (N, C)
        dropped = chance < o.probability * grown / side ** 2

        def inside(position: Tensor, length: int) -> Tensor:
            """Whether each place of a line is within the block: (N, C) -> (N, C, length). C moves blocks that would
            reach beyond the end to the start."""
            start = torch.where(position > length - side, position - (length - side), position)
            offset = torch.arange(length, device=x.device) - start.clamp(max=length - side)[..., None]
            return (offset >= 0) & (offset < side)

        block = inside(place // width, height)[..., None] & inside(place % width, width)[..., None, :]
        lost = (dropped.sum(1) * side ** 2 / self.shape.size).clamp(max=1 - 1e-6)
        scale = (1 / (1 - lost)).to(x.dtype)
        return x.masked_fill(block & dropped[..., None, None], 0) * scale[:, None, None, None]

    def label(self) -> tuple[str, str]:
        return ("dropblock" if self.options.dropblock else "dropout"), ""
