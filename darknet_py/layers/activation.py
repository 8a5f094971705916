"""[activation], [dropout] and [empty]: the shape stays, and there are no weights."""
from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from darknet_py.layers.activations import ACTIVATIONS
from darknet_py.layers.base import Layer, LayerOptions, layer
from darknet_py.options import option


@dataclass(frozen=True)
class ActivationOptions(LayerOptions):
    activation: str = option("linear", choices=ACTIVATIONS)


@dataclass(frozen=True)
class DropoutOptions(LayerOptions):
    probability: float = option(.2, least=0)
    dropblock: int = 0              # 1: drop squares instead of single values
    dropblock_size_rel: float = 0   # their side, in parts of the layer's
    dropblock_size_abs: float = 0   # or in places


@layer("empty", "silence")
class Identity(Layer):
    """The input as it is. Darknet: parse_network_cfg_custom (EMPTY)."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@layer("activation", options=ActivationOptions)
class Activation(Identity):
    """A function of each value. Darknet: make_activation_layer."""

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.options.activation](x)


@layer("dropout", options=DropoutOptions)
class Dropout(Identity):
    """Nothing at inference. Darknet: make_dropout_layer, forward_dropout_layer_gpu."""

    def label(self) -> tuple[str, str]:
        return ("dropblock" if self.options.dropblock else "dropout"), ""
