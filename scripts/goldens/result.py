"""The result of comparing with a golden, and the tolerance of each device."""
from __future__ import annotations

from typing import NamedTuple

TOLERANCE = {"cpu": 2e-4, "cuda": 1e-3}     # of a layer's largest absolute output


class Result(NamedTuple):
    """How far a golden is off. ``error`` is in units of what is allowed there."""

    passed: bool
    error: float
    where: str
