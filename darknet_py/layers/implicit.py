"""[implicit]: learnt values (implicit knowledge of YOLOR)."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from darknet_py.cfg.options import option
from darknet_py.layers.base import Blob, Layer, LayerOptions, Place, Shape, layer


@dataclass(frozen=True)
class ImplicitOptions(LayerOptions):
    mean: float = 0                      # of the initial values
    std: float = .2                      # half the range of the initial values about the mean
    filters: int = option(128, least=1)  # output channels
    atoms: int = option(1, least=1)      # output rows


@layer("implicit", options=ImplicitOptions)
class Implicit(Layer):
    """Learnt values that depend on no input. Darknet: representation_layer.c."""

    clips = True

    def __init__(self, options: ImplicitOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.shape = self.output(options.filters, options.atoms, 1)
        self.weight = self.parameter(*self.shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.expand(x.shape[0], *self.shape)

    def onnx(self, graph: Any, *xs: str) -> str:
        batch = graph.slice(graph("Shape", xs[0]), 0, 0, 1)
        shape = graph("Concat", batch, graph.constant(list(self.shape)), axis=0)
        return graph("Expand", graph.constant(self.weight[None]), shape)

    def blobs(self) -> Iterator[Blob]:
        yield Blob(self.weight)

    def reset_parameters(self) -> None:
        """Darknet draws uniformly from mean - std to mean + std."""
        nn.init.uniform_(self.weight, -1, 1).data.mul_(self.options.std).add_(self.options.mean)

    def label(self) -> tuple[str, str]:
        return "implicit", str(self.options.filters)
