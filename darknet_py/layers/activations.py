"""Darknet's activations: one table, name -> function of a tensor (N, C, ...).

Darknet: activations.h, activation_kernels.cu. Its CPU code lacks relu6 (it writes zeros); revleaky is leaky but for its
gradient. Where C leaves swish, mish, hard_mish and the normalize_channels kinds
out (they turn to zeros in [activation], [sam], [scale_channels], and partly in [shortcut]) they work here.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor


def gelu(x: Tensor) -> Tensor:
    """C rounds the constants of the tanh approximation."""
    return 0.5 * x * (1 + torch.tanh(0.797885 * x + 0.035677 * x ** 3))


def hard_mish(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, torch.zeros_like(x)))


def plse(x: Tensor) -> Tensor:
    """Piecewise linear sigmoid."""
    return torch.where(x < -4, .01 * (x + 4), torch.where(x > 4, .01 * (x - 4) + 1, .125 * x + .5))


def lhtan(x: Tensor) -> Tensor:
    """Leaky hard tanh on [0, 1]."""
    return torch.where(x < 0, .001 * x, torch.where(x > 1, .001 * (x - 1) + 1, x))


def stair(x: Tensor) -> Tensor:
    """Flat on even unit intervals, slope 1 on odd ones."""
    step, half = x.floor(), (x / 2).floor()
    return torch.where(step % 2 == 0, half, x - step + half)


def normalize_channels(x: Tensor) -> Tensor:
    """Positive values divided by their sum over channels."""
    positive = x.clamp(min=0)
    return positive / (positive.sum(1, keepdim=True) + 1e-4)


def normalize_channels_softmax(x: Tensor) -> Tensor:
    """Softmax over channels with 1e-4 added to the sum, and nothing taken from the exponent: overflow gives 0."""
    e = x.exp()
    return (e / (e.sum(1, keepdim=True) + 1e-4)).nan_to_num(0, 0, 0)


def normalize_channels_softmax_maxval(x: Tensor) -> Tensor:
    """The same with the largest channel taken from the exponent."""
    return normalize_channels_softmax(x - x.amax(1, keepdim=True))


def linear(x: Tensor) -> Tensor:
    return x


def loggy(x: Tensor) -> Tensor:
    return 2 * torch.sigmoid(x) - 1


def selu(x: Tensor) -> Tensor:
    """C rounds the constants."""
    return torch.where(x >= 0, 1.0507 * x, 1.0507 * 1.6732 * torch.expm1(x))


def ramp(x: Tensor) -> Tensor:
    return F.relu(x) + .1 * x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {      # no lambdas: networks are pickled
    "linear": linear,
    "logistic": torch.sigmoid,
    "loggy": loggy,
    "relu": F.relu,
    "relu6": F.relu6,
    "elu": F.elu,
    "selu": selu,
    "gelu": gelu,
    "relie": partial(F.leaky_relu, negative_slope=.01),
    "ramp": ramp,
    "leaky": partial(F.leaky_relu, negative_slope=.1),
    "revleaky": partial(F.leaky_relu, negative_slope=.1),
    "tanh": torch.tanh,
    "plse": plse,
    "stair": stair,
    "hardtan": F.hardtanh,
    "lhtan": lhtan,
    "swish": F.silu,
    "mish": F.mish,
    "hard_mish": hard_mish,
    "normalize_channels": normalize_channels,
    "normalize_channels_softmax": normalize_channels_softmax,
    "normalize_channels_softmax_maxval": normalize_channels_softmax_maxval,
}

# The same on the spot, for a fresh tensor: memory for another costs as much as the function.
IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": partial(F.relu, inplace=True),
    "relu6": partial(F.relu6, inplace=True),
    "leaky": partial(F.leaky_relu, negative_slope=.1, inplace=True),
    "logistic": torch.sigmoid_,
    "swish": partial(F.silu, inplace=True),
    "mish": partial(F.mish, inplace=True),
}
OF_RESULT = ("relu", "leaky", "logistic")       # of these the gradient needs the result alone
