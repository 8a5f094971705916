"""Filters that are shared in several poses: sway=, rotate=, stretch= and stretch_sway= of [convolutional].

Darknet: update_convolutional_layer_gpu and the kernels it calls (sway_and_flip_weights_kernel, rotate_weights_kernel,
stretch_weights_kernel, stretch_sway_flip_weights_kernel). A layer's k x k kernels are divided into equal stages, in
the order of memory. The first quarter has the parameters; the others have the same kernels in other poses. Updates are
transformed back and averaged over the quarters; after the step the first quarter is copied, and transformed to the
poses.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

QUARTERS = 4


def gather(weight: Tensor, kind: str, angle: int = 15) -> Tensor:
    """Updates (or gradients) of all poses -> their mean, in the first pose, repeated. (n, c, k, k) -> the same."""
    mean = _turn(weight, kind, angle, True).view(QUARTERS, -1).mean(0)
    return mean.repeat(QUARTERS).view_as(weight)


def spread(weight: Tensor, kind: str, angle: int = 15) -> Tensor:
    """The first quarter of the weights in all poses. (n, c, k, k) -> the same."""
    first = weight.reshape(QUARTERS, -1)[0]
    return _turn(first.repeat(QUARTERS).view_as(weight), kind, angle, False)


def stages(kind: str) -> int:
    """The number of equal parts that the kernels of a layer are divided into."""
    return 8 if kind == "stretch_sway" else 4


def _turn(weight: Tensor, kind: str, angle: int, back: bool) -> Tensor:
    matrices = torch.from_numpy(poses(kind, weight.shape[-1], angle, back)).to(weight)
    kernels = weight.reshape(len(matrices), -1, matrices.shape[-1])     # (stages, kernels, k^2)
    return (kernels @ matrices.mT).view_as(weight)


@cache
def poses(kind: str, size: int, angle: int = 15, back: bool = False) -> np.ndarray:
    """(stages, size^2, size^2): a linear map of kernels for each stage.

    back: towards the first pose. C's way back scales and turns the other way, which is not quite the inverse.
    """
    def sway(degrees: float) -> np.ndarray:
        a = math.radians(-degrees if back else degrees)
        return _sampled(size, lambda x, y: (x * math.cos(a) + y * math.sin(a), -x * math.sin(a) + y * math.cos(a)),
                        refill=True)

    def stretch(scale: float, always: bool) -> np.ndarray:
        scale = 1 / scale if back else scale
        matrix = _sampled(size, lambda x, y: (x / scale, y / scale))
        return matrix / scale if always or scale > 1 else matrix

    same, flip = np.eye(size * size), _moved(size, lambda image: image[:, ::-1])
    match kind:
        case "rotate":
            maps = [_moved(size, partial(np.rot90, k=turns if back else -turns)) for turns in range(4)]
        case "sway":
            maps = [same, sway(angle), sway(-angle), flip]
        case "stretch":
            maps = [same, *(stretch(scale, True) for scale in (.65, .8, 1.3))]
        case _:
            maps = [same, *(stretch(scale, False) for scale in (.65, .8, 1.2, 1.4)), sway(angle), sway(-angle), flip]
    return np.stack(maps).astype(np.float32)


def _moved(size: int, move: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The matrix of a permutation of places, given as what it does to an image."""
    return np.eye(size * size)[move(np.arange(size * size).reshape(size, size)).ravel()]


def _sampled(size: int, source: Callable[[float, float], tuple[float, float]], refill: bool = False) -> np.ndarray:
    """The matrix of a bilinear reading at ``source`` of each place's offset from the centre. What would be read outside
    is left out, and with ``refill`` the rest is scaled up for it."""
    matrix, outside, centre = np.zeros((size * size, size * size)), 0., size // 2
    for place in range(size * size):
        x, y = (centre + offset for offset in source(place % size - centre, place // size - centre))
        left, top = math.floor(x), math.floor(y)
        for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
            share = (1 - abs(x - column)) * (1 - abs(y - row))
            if 0 <= column < size and 0 <= row < size:
                matrix[place, column + row * size] += share
            else:
                outside += share
    return matrix * size ** 2 / (size ** 2 - outside) if refill else matrix
