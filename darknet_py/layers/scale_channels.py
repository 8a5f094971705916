"""[scale_channels] and [sam]: channel and spatial attention, as products of two outputs."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.activations import ACTIVATIONS
from darknet_py.layers.base import Layer, LayerOptions, Place, Shape, layer


@dataclass(frozen=True)
class SamOptions(LayerOptions):
    from_: int | None = None  # the layer that is scaled: a number from 0 on, or a negative one back from here
    activation: str = option("linear", choices=ACTIVATIONS)  # function of the product


@dataclass(frozen=True)
class ScaleChannelsOptions(SamOptions):
    scale_wh: int = 0  # 1: a factor a place instead of one a channel


class Product(Layer):
    """The output of ``from`` times the output before, which is broadcast to its shape."""

    any_size = True

    def __init__(self, options: SamOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        factor, self.shape = shapes
        expected = self.factor_shape(self.shape)
        if factor != expected:
            raise place.error(f"needs {expected} from the layer before it to scale {self.shape}, found {factor}",
                              "from", Reason.SHAPE_MISMATCH)
        self.activate = ACTIVATIONS[options.activation]

    @classmethod
    def sources(cls, options: SamOptions, place: Place) -> tuple[int, ...]:
        if options.from_ is None:
            raise place.error("needs from=, the layer to scale", reason=Reason.MISSING_KEY)
        return place.index - 1, place.resolve(options.from_, "from")

    def factor_shape(self, shape: Shape) -> Shape:
        """The shape that the factors must have to scale ``shape``."""
        return shape

    def forward(self, factor: Tensor, x: Tensor) -> Tensor:
        return self.activate(x * factor)

    def onnx(self, graph: Any, *xs: str) -> str:
        return graph.activation(self.options.activation, graph("Mul", xs[1], xs[0]))

    def label(self) -> tuple[str, str]:
        return self.kind, str(self.sources(self.options, self.place)[1])


@layer("scale_channels", options=ScaleChannelsOptions)
class ScaleChannels(Product):
    """Squeeze and excitation: a factor a channel, or with scale_wh=1 a factor a place.

    Darknet: make_scale_channels_layer, scale_channels_gpu.
    """

    def factor_shape(self, shape: Shape) -> Shape:
        return Shape(1, shape.height, shape.width) if self.options.scale_wh else Shape(shape.channels, 1, 1)


@layer("sam", options=SamOptions)
class Sam(Product):
    """Spatial attention: a factor for every value. Darknet: make_sam_layer, sam_gpu."""
