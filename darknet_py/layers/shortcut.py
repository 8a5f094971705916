"""[shortcut]: residual sum of outputs."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.activations import ACTIVATIONS
from darknet_py.layers.base import Blob, Layer, LayerOptions, Place, Shape, layer

EPSILON = 1e-4
LEAST = 1e-3


@dataclass(frozen=True)
class ShortcutOptions(LayerOptions):
    # which are added to the layer before: numbers from 0 on, or negative ones back from here
    from_: tuple[int, ...] = ()
    activation: str = option("linear", choices=ACTIVATIONS)  # function of the sum
    # learnt weights of the inputs: one a layer (per_feature, per_layer), or one a channel
    weights_type: str = option("none", choices=("none", "per_feature", "per_layer", "per_channel"))
    # how they are made to sum to one
    weights_normalization: str = option("none", choices=("none", "relu", "avg_relu", "softmax"))


@layer("shortcut", options=ShortcutOptions)
class Shortcut(Layer):
    """The output before plus earlier ones, each perhaps times a learnt weight (a layer's or a channel's).

    Darknet: parse_shortcut, shortcut_multilayer_gpu. The weights sum to one with weights_normalization (avg_relu is
    relu, per_layer is per_feature), 1e-4 added to the sum; relu raises weights to .001 at least (the CPU code, outside
    fuse_conv_batchnorm, to 0). Inputs with fewer channels add to the first ones, those
    with more give their first ones. For another width and height AlexeyAB's code asserts; as in pjreddie's,
    coordinates are then multiplied or divided by the whole ratio of the sides.

    Training (backward_shortcut_multilayer_gpu, update_shortcut_layer_gpu): C's derivative of a normalised weight w is
    w for relu and w (1 - w) for softmax, as if the others stood still; weights do not decay, and what momentum has
    gathered is kept within [-1, 1].
    """

    any_size = True
    decays = False
    update_bound = 1

    def __init__(self, options: ShortcutOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o, self.shape = options, shapes[0]
        for shape in shapes[1:]:
            _, height, width = self.shape
            down, up = (shape.height // height, shape.width // width), (height // shape.height, width // shape.width)
            if down[0] != down[1] or up[0] != up[1]:
                raise place.error(f"from= cannot add {shape} to {self.shape}: their sides have no common ratio", "from",
                                  Reason.SHAPE_MISMATCH)
        count = len(shapes)
        if o.weights_type != "none":
            channels = self.shape.channels if o.weights_type == "per_channel" else 1
            self.weight = self.parameter(count, channels)
        self.activate = ACTIVATIONS[o.activation]
        self.flops = self.shape.size * (count - 1) * (2 if o.weights_type != "none" else 1)

    @classmethod
    def sources(cls, options: ShortcutOptions, place: Place) -> tuple[int, ...]:
        if not options.from_:
            raise place.error("needs from=, the layers to add", reason=Reason.MISSING_KEY)
        return (place.index - 1, *(place.resolve(reference, "from") for reference in options.from_))

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        if "weight" not in self._parameters:
            total = x
            for other in others:
                total = total + other if other.shape == x.shape else add_sampled(total, other)
        else:
            weights = self.effective_weight()[:, None, :, None, None]       # (n + 1, 1, C or 1, 1, 1)
            total = x * weights[0]
            for other, weight in zip(others, weights[1:], strict=True):
                other = other if other.shape == x.shape else add_sampled(torch.zeros_like(x), other)
                total = total + other * weight
        return self.activate(total)

    def onnx(self, graph: Any, *xs: str) -> str:
        weights = self.normalized_weight() if "weight" in self._parameters else None
        channels, total = self.shape.channels, ""
        for number, (x, shape) in enumerate(zip(xs, self.shapes, strict=True)):
            if shape[1:] != self.shape[1:]:
                raise self.place.error(f"adds {shape} to {self.shape}, which cannot be said in ONNX", "from",
                                       Reason.UNSUPPORTED)
            if shape.channels > channels:
                x = graph.slice(x, 1, 0, channels)
            elif shape.channels < channels:
                x = graph.pad(x, 0., after_channels=channels - shape.channels)
            if weights is not None:
                x = graph("Mul", x, graph.constant(weights[number].view(1, -1, 1, 1)))
            total = graph("Add", total, x) if number else x
        return graph.activation(self.options.activation, total)

    def effective_weight(self) -> Tensor:
        """``normalized_weight`` with the derivative that C gives it."""
        if not self.weight.requires_grad:
            return self.normalized_weight()
        normalized = self.normalized_weight().detach()
        return normalized + self.slope(normalized) * (self.weight - self.weight.detach())

    def slope(self, normalized: Tensor) -> Tensor:
        """C's derivative of a normalised weight with respect to the weight itself."""
        match self.options.weights_normalization:
            case "none":
                return torch.ones_like(normalized)
            case "softmax":
                return normalized * (1 - normalized)
            case _:
                return normalized

    def normalized_weight(self) -> Tensor:
        """(n + 1, C or 1): a row for the layer before and one for each of ``from``."""
        kind = self.options.weights_normalization
        weight: Tensor = self.weight
        if kind == "none":
            return weight
        weight = (weight - weight.amax(0)).exp() if kind == "softmax" else weight.clamp(min=LEAST)
        return weight / (weight.sum(0) + EPSILON)

    def blobs(self) -> Iterator[Blob]:
        if "weight" in self._parameters:
            yield Blob(self.weight)

    def reset_parameters(self) -> None:
        if "weight" in self._parameters:
            nn.init.ones_(self.weight)

    def label(self) -> tuple[str, str]:
        return "shortcut", " ".join(str(index) for index in self.sources(self.options, self.place)[1:])


def add_sampled(x: Tensor, other: Tensor) -> Tensor:
    """x plus an output of another size: its first channels, at strides of the ratio of the sides.

    Darknet: shortcut_cpu of pjreddie/darknet. (N, C, H, W) and (N, C2, H2, W2) -> (N, C, H, W)
    """
    height, width = x.shape[2:]
    down = max(1, other.shape[3] // width)      # every down-th value of the larger one is added
    up = max(1, width // other.shape[3])        # ... to every up-th place of the larger one
    channels = min(x.shape[1], other.shape[1])
    rows, columns = min(height, other.shape[2]), min(width, other.shape[3])
    total = x.clone()
    total[:, :channels, :rows * up:up, :columns * up:up] += \
        other[:, :channels, :rows * down:down, :columns * down:down]
    return total
