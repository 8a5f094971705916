"""Parity of two runtimes: the difference between their outputs, and how large it may be."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CLOSE, HALF = 1e-3, 5e-2                    # the error allowed of another runtime, and of float16
ALLOWED = {"float32": CLOSE, "float16": HALF, "bfloat16": 8 * HALF}     # bfloat16 has 3 bits fewer than float16
TINY = 1e-6                                 # of outputs that are 0 throughout


@dataclass(frozen=True)
class Parity:
    """The worst difference between outputs, in parts of the value, or where that is smaller of 1, or of the largest
    value of an output of small ones, as probabilities are.

    images: how many were compared.
    """

    error: float
    allowed: float
    images: int

    @property
    def good(self) -> bool:
        return self.error <= self.allowed

    def __str__(self) -> str:
        return f"worst error {self.error:.2g} over {self.images} images (allowed: {self.allowed:g})"


@torch.no_grad()
def difference(reference: Sequence[Tensor], outputs: Sequence[Tensor]) -> float:
    """The worst difference between outputs, as ``Parity.error``; infinite for NaN, and for other shapes."""
    worst = 0.
    for one, other in zip(reference, outputs, strict=True):
        if one.shape != other.shape:
            return math.inf
        sizes = one.abs()
        error = float(((one - other).abs() / sizes.maximum(sizes.max().clamp(TINY, 1))).max())
        worst = max(worst, math.inf if math.isnan(error) else error)
    return worst
