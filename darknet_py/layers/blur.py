"""The low-pass filter of antialiasing=, which [convolutional] and [maxpool] put behind their windows."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.layers.base import Shape


@dataclass(frozen=True)
class Blur:
    """C's filter, a channel at a time: binomial 3x3 padded by one, or 2x2 unpadded, with a ``stride`` (y, x).

    Darknet: parse_convolutional, parse_maxpool (the blur layer that they add).
    """

    size: int
    stride: tuple[int, int]

    @classmethod
    def of(cls, antialiasing: int, stride: tuple[int, int]) -> Blur | None:
        """What the option means: 0 nothing, 2 the smaller filter, anything else the larger one."""
        return cls(2 if antialiasing == 2 else 3, stride) if antialiasing else None

    def sides(self, shape: Shape) -> tuple[int, int]:
        """Height and width of the output for an input of ``shape``; below 1 where that is too small."""
        height, width = ((side + 2 * (self.size // 3) - self.size) // step + 1
                         for side, step in zip(shape[1:], self.stride, strict=True))
        return height, width

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H', W')"""
        channels = x.shape[1]
        return F.conv2d(x, self.kernel(channels).to(x), None, self.stride, self.size // 3, 1, channels)

    def kernel(self, channels: int) -> Tensor:
        """(channels, 1, size, size)"""
        row = torch.tensor([1., 2., 1.] if self.size == 3 else [1., 1.])
        return (torch.outer(row, row) / row.sum() ** 2).expand(channels, 1, self.size, self.size)

    def onnx(self, graph: Any, x: str, channels: int) -> str:
        return graph("Conv", x, graph.constant(self.kernel(channels)), strides=self.stride,
                     pads=[self.size // 3] * 4, group=channels)

    @staticmethod
    def darknet_output(output: Tensor, before: Tensor) -> Tensor:
        """C's ``l.output``: it writes the output over the start of what was there before the blur."""
        before = before.contiguous()
        before.view(-1)[:output.numel()] = output.reshape(-1)
        return before
