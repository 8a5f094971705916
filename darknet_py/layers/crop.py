"""[crop]: centre crop."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.base import Layer, LayerOptions, Place, Shape, layer


@dataclass(frozen=True)
class CropOptions(LayerOptions):
    crop_height: int = option(1, least=1)  # height of the window, pixels
    crop_width: int = option(1, least=1)   # width of the window, pixels
    noadjust: int = 0                      # 1: values stay in [0, 1]; else they become [-1, 1]

    # of C's random crops in training: read, and without effect here
    flip: int = 0          # 1: half of the pictures are mirrored
    angle: float = 0       # turned by up to so many degrees
    saturation: float = 1  # changed by up to this factor
    exposure: float = 1    # changed by up to this factor
    shift: float = 0       # added to the colours, at most


@layer("crop", options=CropOptions)
class Crop(Layer):
    """The centre crop of the image.

    Darknet: make_crop_layer, forward_crop_layer_gpu. An odd difference of the sides puts the window half a pixel
    between two places; the GPU code averages them (the CPU code takes the first).
    """

    def __init__(self, options: CropOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o, (channels, height, width) = options, shapes[0]
        if o.crop_height > height or o.crop_width > width:
            raise place.error(f"cannot take {o.crop_width} x {o.crop_height} out of {width} x {height}", "crop_height",
                              Reason.SHAPE_MISMATCH)
        self.shape = self.output(channels, o.crop_height, o.crop_width)

    def forward(self, x: Tensor) -> Tensor:
        extra = [whole - part for whole, part in zip(x.shape[2:], self.shape[1:], strict=True)]
        top, left = (side // 2 for side in extra)
        odd = [side % 2 for side in extra]
        x = x[:, :, top:top + self.shape.height + odd[0], left:left + self.shape.width + odd[1]]
        if any(odd):
            x = F.avg_pool2d(x, (1 + odd[0], 1 + odd[1]), 1)
        return x if self.options.noadjust else 2 * x - 1

    def onnx(self, graph: Any, *xs: str) -> str:
        extra = [whole - part for whole, part in zip(self.shapes[0][1:], self.shape[1:], strict=True)]
        odd, x = [side % 2 for side in extra], xs[0]
        for axis, (side, more, length) in enumerate(zip(extra, odd, self.shape[1:], strict=True), 2):
            x = graph.slice(x, axis, side // 2, side // 2 + length + more)
        if any(odd):
            x = graph("AveragePool", x, kernel_shape=[1 + one for one in odd])
        return x if self.options.noadjust else graph("Sub", graph("Mul", x, 2.), 1.)
