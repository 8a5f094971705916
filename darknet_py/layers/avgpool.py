"""[avgpool]: global average pooling."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from darknet_py.layers.base import Layer, LayerOptions, Place, Shape, layer


@layer("avgpool", "avg")
class AvgPool(Layer):
    """Mean of each channel over the whole image. Darknet: make_avgpool_layer."""

    any_size = True

    def __init__(self, options: LayerOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.shape = self.output(shapes[0].channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def onnx(self, graph: Any, *xs: str) -> str:
        return graph("GlobalAveragePool", xs[0])

    def label(self) -> tuple[str, str]:
        return "avg", ""
